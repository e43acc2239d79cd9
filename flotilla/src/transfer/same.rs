//! Whether a file of this machine has the content of a stored one: sizes first, hashes only where sizes agree.

use std::{fs::File, io, path::PathBuf};

use super::{blocking, is_hash, source};

/// Compares an open file with a stored one's size and ETag; an ETag over several trees is like no file.
///
/// # Errors
/// The file can't be read.
pub fn is_like(file: File, size: u64, etag: &str) -> io::Result<bool> {
    if !is_hash(etag) || file.metadata()?.len() != size {
        return Ok(false);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(etag.eq_ignore_ascii_case(&hasher.finalize().to_hex()))
}

/// Compares a file by its path; one that can't be read is not like it, and whoever reads it next says why.
pub async fn is_like_at(path: PathBuf, size: u64, etag: String) -> bool {
    blocking(move || {
        let (file, length) = source::open(&path, false)?;
        if length == size { is_like(file, size, &etag) } else { Ok(false) }
    })
    .await
    .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_equal_size_and_hash_are_the_same_content() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "abc").expect("it is writable");
        let like = |size, etag: &str| is_like_at(file.path().to_owned(), size, etag.to_owned());
        let etag = blake3::hash(b"abc").to_hex();
        assert!(like(3, &etag).await && like(3, &etag.to_uppercase()).await);
        assert!(!like(4, &etag).await);
        assert!(!like(3, &blake3::hash(b"abd").to_hex()).await);
        assert!(!like(3, &format!("{etag}-1")).await);
        assert!(!is_like_at(file.path().join("none"), 3, etag.to_string()).await);
    }
}
