"""How RocksDB is set up: what each table holds decides its buffers, filters and compression."""

from __future__ import annotations

from typing import Final

from rocksdict import (
    BlockBasedOptions,
    Cache,
    ChecksumType,
    DBCompressionType,
    DBRecoveryMode,
    Options,
)

from goclaw_events.tables import TABLES

MIB: Final = 1024 * 1024
CACHE_BYTES: Final = 64 * MIB
BUFFERS_BYTES_MAX: Final = 96 * MIB
WAL_BYTES_MAX: Final = 128 * MIB
OPEN_FILES_MAX: Final = 512
_BUFFER_BYTES: Final = {"log": 32 * MIB, "streams": 16 * MIB, "blobs": 16 * MIB}
_BUFFER_BYTES_OTHER: Final = 4 * MIB
_BLOOM_BITS: Final = 10
_BLOCK_BYTES: Final = 16 * 1024
_LARGE: Final = frozenset({"log", "blobs", "snapshots", "chunks", "output"})


def database_options(*, create: bool, salvage: bool = False) -> Options:
    """Return the options of the whole database.

    WAL recovery takes a torn tail and refuses everything else (the default would drop what stands
    behind a flipped bit); log files are never recycled (their old tails look like records).
    With `salvage` it ends at the first record that is not whole: only for a copy.
    """
    options = Options(raw_mode=True)
    options.create_if_missing(create)
    options.create_missing_column_families(True)
    careful = DBRecoveryMode.tolerate_corrupted_tail_records()
    options.set_wal_recovery_mode(DBRecoveryMode.point_in_time() if salvage else careful)
    options.set_recycle_log_file_num(0)
    options.set_paranoid_checks(True)
    options.set_db_write_buffer_size(BUFFERS_BYTES_MAX)
    options.set_max_total_wal_size(WAL_BYTES_MAX)
    options.set_max_open_files(OPEN_FILES_MAX)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(4)
    options.set_max_log_file_size(4 * MIB)
    options.set_is_fd_close_on_exec(True)
    options.set_bytes_per_sync(MIB)
    return options


def table_options() -> dict[str, Options]:
    """Return the options of every table; all share one block cache."""
    cache = Cache(CACHE_BYTES)
    return {table: _table(table, cache) for table in TABLES}


def _table(table: str, cache: Cache) -> Options:
    options = Options(raw_mode=True)
    options.set_write_buffer_size(_BUFFER_BYTES.get(table, _BUFFER_BYTES_OTHER))
    options.set_max_write_buffer_number(3)
    options.set_compression_type(DBCompressionType.lz4())
    if table in _LARGE:
        options.set_bottommost_compression_type(DBCompressionType.zstd())
    blocks = BlockBasedOptions()
    blocks.set_block_cache(cache)
    blocks.set_block_size(_BLOCK_BYTES)
    blocks.set_format_version(5)
    blocks.set_checksum_type(ChecksumType.xxh3())
    blocks.set_cache_index_and_filter_blocks(True)
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    if table in ("streams", "blobs", "ended"):
        blocks.set_bloom_filter(_BLOOM_BITS, False)
    options.set_block_based_table_factory(blocks)
    return options
