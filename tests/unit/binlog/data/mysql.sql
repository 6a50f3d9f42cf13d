SET timestamp = 1767225600.123456, time_zone = '+00:00'
CREATE TABLE docs (dataset_id VARCHAR(40), id VARCHAR(40), content MEDIUMTEXT, embedding LONGBLOB, price DECIMAL(10,3), seen DATETIME(3), made TIMESTAMP(6) NULL, kind ENUM('a','é'), v VECTOR(2), PRIMARY KEY (dataset_id, id))
INSERT INTO docs VALUES ('d', '1', 'Grüße 😀', X'0000803F', -12.5, '2026-01-02 03:04:05.678', '2026-01-02 03:04:05.000001', 'é', TO_VECTOR('[1,2]')), ('d', '2', NULL, NULL, NULL, NULL, NULL, NULL, NULL)
BEGIN
UPDATE docs SET content = 'new' WHERE id = '1'
SAVEPOINT s
DELETE FROM docs WHERE id = '2'
COMMIT
SET binlog_transaction_compression = ON
INSERT INTO docs (dataset_id, id, content) VALUES ('d', '3', REPEAT('packed ', 50))
SET binlog_transaction_compression = OFF
SET gtid_next = 'AUTOMATIC:tagged'
INSERT INTO docs (dataset_id, id) VALUES ('d', 'tag')
SET gtid_next = 'ffeeddcc-bbaa-9988-7766-554433221100:12345678901'
DELETE FROM docs WHERE id = 'tag'
SET gtid_next = AUTOMATIC
XA START 'x', 'y', 7
INSERT INTO docs (dataset_id, id) VALUES ('d', 'xa')
XA END 'x', 'y', 7
XA PREPARE 'x', 'y', 7
XA COMMIT 'x', 'y', 7
SET foreign_key_checks = 0
DELETE FROM docs WHERE id = 'xa'
SET foreign_key_checks = 1
TRUNCATE TABLE docs
CREATE TABLE copied AS SELECT 1 AS id
ALTER TABLE docs ADD COLUMN extra INT UNSIGNED FIRST
INSERT INTO docs (dataset_id, id, extra) VALUES ('d', '4', 4294967295)
RENAME TABLE docs TO docs_old
DROP TABLE docs_old, copied
