//! Files between this machine and a deployment: reading, writing, walking and counting. Knows no command line.

pub mod backoff;
pub mod batch;
pub mod fetch;
pub mod join;
pub mod keys;
pub mod part;
pub mod paths;
pub mod progress;
pub mod same;
pub mod sink;
pub mod source;
pub mod store;
pub mod target;
pub mod tickets;
pub mod walk;

use crate::exit::{Exit, Failure, chain};

/// Runs what blocks on a thread of its own.
///
/// # Cancel safety
/// A dropped future does not stop the work.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends only together with the process.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Makes the failure of a file of this machine.
pub fn file_failure(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Other, chain(error)).about(path.display())
}

/// Says whether an ETag is the BLAKE3 hash of the content; one over several trees (`…-N`) is not.
pub fn is_hash(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Compares a file's ETag with the hash of its bytes; an ETag over several trees (`…-N`) can't be compared.
///
/// # Errors
/// The bytes are not the file's.
pub fn verify(etag: &str, hash: &blake3::Hash) -> Result<(), Failure> {
    if !is_hash(etag) || etag.eq_ignore_ascii_case(&hash.to_hex()) {
        return Ok(());
    }
    let detail = format!("verification failed: the ETag is {etag}, the bytes have the BLAKE3 hash {hash}");
    Err(Failure::new(Exit::Verification, detail)
        .hint("do it again; if it stays so, something between here and the servers changes bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_the_files_fail_with_8() {
        let hash = blake3::hash(b"abc");
        assert!(verify(&hash.to_hex(), &hash).is_ok());
        let failure = verify(&blake3::hash(b"abd").to_hex(), &hash).expect_err("other bytes");
        assert_eq!(failure.exit().code(), 8);
        assert!(verify(&format!("{}-2", blake3::hash(b"abd").to_hex()), &hash).is_ok());
    }
}
