SET timestamp = 1767225600.123456, time_zone = '+00:00'
CREATE TABLE docs (dataset_id VARCHAR(40), id VARCHAR(40), content MEDIUMTEXT, embedding LONGBLOB, price DECIMAL(10,3), seen DATETIME(3), made TIMESTAMP(6), kind ENUM('a','é'), PRIMARY KEY (dataset_id, id))
INSERT INTO docs VALUES ('d', '1', 'Grüße 😀', X'0000803F', -12.5, '2026-01-02 03:04:05.678', '2026-01-02 03:04:05.000001', 'é'), ('d', '2', NULL, NULL, NULL, NULL, NULL, NULL)
BEGIN
UPDATE docs SET content = 'new' WHERE id = '1'
SAVEPOINT s
DELETE FROM docs WHERE id = '2'
COMMIT
SET GLOBAL log_bin_compress_min_len = 10
SET GLOBAL log_bin_compress = ON
INSERT INTO docs (dataset_id, id, content) VALUES ('d', '3', REPEAT('packed ', 50))
SET GLOBAL log_bin_compress = OFF
XA START 'x', 'y', 7
INSERT INTO docs (dataset_id, id) VALUES ('d', 'xa')
XA END 'x', 'y', 7
XA PREPARE 'x', 'y', 7
XA COMMIT 'x', 'y', 7
SET foreign_key_checks = 0
DELETE FROM docs WHERE id = 'xa'
SET foreign_key_checks = 1
SET gtid_domain_id = 5
TRUNCATE TABLE docs
SET gtid_domain_id = 0
ALTER TABLE docs ADD COLUMN extra INT UNSIGNED FIRST
INSERT INTO docs (dataset_id, id, extra) VALUES ('d', '4', 4294967295)
RENAME TABLE docs TO docs_old
DROP TABLE docs_old
