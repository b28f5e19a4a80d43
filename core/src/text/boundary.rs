//! Boundaries of characters.

/// Returns the start of the character that contains the byte at `index`, or the end of the text if
/// it is shorter. Does the same as `str::floor_char_boundary`, which older compilers do not have.
pub(super) fn floor_char_boundary(text: &str, index: usize) -> usize {
    let mut boundary = index.min(text.len());
    while !text.is_char_boundary(boundary) {
        boundary -= 1;
    }
    boundary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundary_is_at_or_before_the_index() {
        let text = "aλ\u{20ac}";
        let boundaries: [usize; 8] = core::array::from_fn(|index| floor_char_boundary(text, index));
        assert_eq!(boundaries, [0, 1, 1, 3, 3, 3, 6, 6]);
        assert_eq!(floor_char_boundary("", 5), 0);
    }
}
