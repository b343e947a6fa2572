//! Digests and bytes in hexadecimal digits.

use sha2::{Digest, Sha256};

/// The first `bytes` (at most 32) of the SHA-256 of some data, in hexadecimal digits.
pub fn digest(data: impl AsRef<[u8]>, bytes: usize) -> String {
    hex(&Sha256::digest(data)[..bytes])
}

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_sha256sum_prints_it() {
        assert_eq!(digest("", 4), "e3b0c442");
        assert_eq!(digest("abc", 32).len(), 64);
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }
}
