-- Least privileges on MariaDB 10.5 and later. Run as an administrator, after replacing:
--   app          the database that holds the documents (also in source.url)
--   change-me-1  the password of the account that captures (VECSYNC_SOURCE__PASSWORD of `vecsync capture`)
--   change-me-2  the password of the account that writes (VECSYNC_SOURCE__PASSWORD of `vecsync ingest` and `docs`)
--   %            the hosts they connect from
-- The tables must exist: run `vecsync source install` first, with an account that may CREATE, REFERENCES, TRIGGER and
-- CREATE ROUTINE in that database. With the binlog on, MariaDB asks such an account for SUPER too, unless
-- log_bin_trust_function_creators is ON.

-- Reads the binlog (REPLICATION SLAVE), asks where it ends (BINLOG MONITOR) and whether the server is a replica itself
-- (SLAVE MONITOR), and reads the tables for snapshots.
CREATE USER IF NOT EXISTS 'vecsync_capture'@'%' IDENTIFIED BY 'change-me-1';
GRANT REPLICATION SLAVE, BINLOG MONITOR, SLAVE MONITOR ON *.* TO 'vecsync_capture'@'%';
GRANT SELECT ON app.shadow_vec_docs TO 'vecsync_capture'@'%';
GRANT SELECT ON app.vec_dataset TO 'vecsync_capture'@'%';
-- Both again for each further table in source.tables, and for vec_dataset in its database.
-- With `source.reader: shadow_log` it needs no REPLICATION privilege, but this:
-- GRANT SELECT ON app.vec_shadow_log TO 'vecsync_capture'@'%';

-- Writes documents and datasets. Triggers run with the rights of who installed them, so the log needs no grant.
CREATE USER IF NOT EXISTS 'vecsync_ingest'@'%' IDENTIFIED BY 'change-me-2';
GRANT SELECT, INSERT, UPDATE, DELETE ON app.shadow_vec_docs TO 'vecsync_ingest'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON app.vec_dataset TO 'vecsync_ingest'@'%';
GRANT SELECT, INSERT, UPDATE ON app.vec_dataset_scn TO 'vecsync_ingest'@'%';
-- For programs that write by themselves.
GRANT EXECUTE ON FUNCTION app.vec_next_scn TO 'vecsync_ingest'@'%';
