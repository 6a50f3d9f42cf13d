"""Binlog of MySQL (5.7 and later) and MariaDB (10.5 and later): bytes in, transactions of row changes out.

Everything but `connection` is free of I/O, clocks and threads: `decoder.Decoder.feed` takes the bytes of one event
and yields items. What is not understood and could carry rows raises; nothing is passed over in silence.
"""
