//! The footer of a Parquet file alone, from the file's last bytes.

use arrow_schema::Schema;
use lakegate_base::caught::caught;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

/// Bytes after the footer: its length, and the mark of the format.
const TRAILER_BYTES: usize = 8;

/// Why a footer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The footer begins before these bytes.
    #[error("the footer takes the last {needed} bytes")]
    TooShort {
        /// Bytes at the end of the file that hold all of it.
        needed: u64,
    },
    /// The file does not end as a Parquet file does.
    #[error("it does not end as a Parquet file")]
    NotParquet,
    /// The footer is damaged.
    #[error("its footer cannot be read: {0}")]
    Damaged(String),
}

/// The rows of a file that ends in `tail`.
///
/// # Errors
/// [`Unreadable`].
pub fn rows(tail: &[u8]) -> Result<u64, Unreadable> {
    let metadata = metadata(tail)?;
    u64::try_from(metadata.file_metadata().num_rows()).map_err(|_| Unreadable::Damaged("it has fewer than no rows".to_owned()))
}

/// The columns of a file that ends in `tail`, as Parquet has them: what another writer says of its own types is not heeded.
///
/// # Errors
/// [`Unreadable`].
pub fn schema(tail: &[u8]) -> Result<Schema, Unreadable> {
    let metadata = metadata(tail)?;
    let columns = caught(|| parquet_to_arrow_schema(metadata.file_metadata().schema_descr(), None).map_err(|error| error.to_string()));
    columns.unwrap_or_else(|| Err("its decoder gave up".to_owned())).map_err(Unreadable::Damaged)
}

fn metadata(tail: &[u8]) -> Result<ParquetMetaData, Unreadable> {
    let (rest, trailer) = tail.split_last_chunk::<TRAILER_BYTES>().ok_or(Unreadable::NotParquet)?;
    let [a, b, c, d, mark @ ..] = *trailer;
    if &mark != b"PAR1" {
        return Err(Unreadable::NotParquet);
    }
    let length = u32::from_le_bytes([a, b, c, d]);
    let footer = usize::try_from(length).ok().and_then(|length| rest.len().checked_sub(length)).and_then(|from| rest.get(from..));
    let footer = footer.ok_or(Unreadable::TooShort { needed: u64::from(length) + TRAILER_BYTES as u64 })?;
    // The decoder checks what it reads, but bytes made to harm may still find a panic in it.
    let decoded = caught(|| ParquetMetaDataReader::decode_metadata(footer).map_err(|error| error.to_string()));
    decoded.unwrap_or_else(|| Err("its decoder gave up".to_owned())).map_err(Unreadable::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;
    use std::sync::Arc;

    fn file(rows: i64) -> Vec<u8> {
        let column = Arc::new(Int64Array::from_iter_values(0..rows));
        let batch = RecordBatch::try_from_iter([("id", column as _)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    #[test]
    fn the_last_bytes_say_how_many_rows_there_are() {
        let file = file(1_000);
        assert_eq!(rows(&file), Ok(1_000));
        let Err(Unreadable::TooShort { needed }) = rows(&file[file.len() - 20..]) else { panic!("too short") };
        let from = file.len() - usize::try_from(needed).unwrap();
        assert_eq!(rows(&file[from..]), Ok(1_000));
        let columns = schema(&file[from..]).unwrap();
        assert_eq!(columns.fields().iter().map(|it| it.to_string()).collect::<Vec<_>>(), [r#"Field { "id": Int64 }"#]);
        assert_eq!(schema(b"id"), Err(Unreadable::NotParquet));
    }

    #[test]
    fn what_is_no_parquet_is_said() {
        assert_eq!(rows(b"id\n1\n2\n3\n"), Err(Unreadable::NotParquet));
        assert_eq!(rows(b""), Err(Unreadable::NotParquet));
        let mut damaged = file(10);
        let at = damaged.len() - 20;
        damaged[at] ^= 0xff;
        assert!(matches!(rows(&damaged), Err(Unreadable::Damaged(_)) | Ok(10)), "{:?}", rows(&damaged));
    }
}
