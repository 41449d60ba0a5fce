//! Measures the entropy of bytes; twin.py does the same in Python.

/// Returns the entropy in bits per byte.
///
/// # Safety
/// `content` points to `size` bytes.
#[no_mangle]
pub unsafe extern "C" fn entropy(content: *const u8, size: usize) -> f64 {
    if size == 0 {
        return 0.0;
    }
    let mut counts = [0usize; 256];
    for &byte in std::slice::from_raw_parts(content, size) {
        counts[byte as usize] += 1;
    }
    let shares = counts.iter().filter(|&&count| count > 0).map(|&count| count as f64 / size as f64);
    -shares.map(|share| share * share.log2()).sum::<f64>()
}
