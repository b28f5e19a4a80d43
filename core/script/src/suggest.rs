//! Names that were probably meant. The edit distance is own code, because `strsim` needs `std`.

use alloc::vec::Vec;

/// Maximum size of a name for which suggestions are searched, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Returns the name that was probably meant by `word`: the nearest of `names`, if it differs in few
/// letters.
///
/// ```
/// use astreum_script::nearest;
/// assert_eq!(nearest("haep_get", ["heap_get", "heap_set"]), Some("heap_get"));
/// assert_eq!(nearest("sub", ["heap_get", "jump"]), None);
/// ```
#[must_use]
pub fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if word.len() > MAX_NAME_BYTES {
        return None;
    }
    let most = match word.chars().count() {
        0..=1 => 0,
        2 => 1,
        count => 1 + count / 5,
    };
    let names = names.into_iter();
    let near = names
        .filter(|name| name.len() <= MAX_NAME_BYTES && name.len().abs_diff(word.len()) <= 4 * most);
    let (distance, name) = near.map(|name| (edit_distance(word, name), name)).min()?;
    (distance <= most && name != word).then_some(name)
}

/// Returns the number of letters to insert, remove, replace or swap with a neighbour that makes one
/// word of the other, whatever their case. It takes time in proportion to the product of their
/// lengths.
///
/// ```
/// use astreum_script::edit_distance;
/// assert_eq!(edit_distance("haep_get", "heap_get"), 1);
/// ```
#[must_use]
pub fn edit_distance(a: &str, b: &str) -> usize {
    let letters = |word: &str| -> Vec<char> { word.chars().flat_map(char::to_lowercase).collect() };
    let (a, b) = (letters(a), letters(b));
    // The last three rows of the table: two suffice without swaps.
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (row, letter) in a.iter().enumerate() {
        let mut line: Vec<usize> = Vec::with_capacity(b.len() + 1);
        line.push(row + 1);
        for (column, other) in b.iter().enumerate() {
            let cell = |line: &[usize], at: usize| line.get(at).copied().unwrap_or(usize::MAX - 1);
            let replaced = cell(&above, column) + usize::from(letter != other);
            let mut least = replaced
                .min(cell(&above, column + 1) + 1)
                .min(cell(&line, column) + 1);
            let is_swap = row > 0
                && column > 0
                && a.get(row - 1) == Some(other)
                && b.get(column - 1) == Some(letter);
            if is_swap {
                least = least.min(cell(&before, column - 1) + 1);
            }
            line.push(least);
        }
        before = core::mem::replace(&mut above, line);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_matches_known_values() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("haep_get", "heap_get"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("ABC", "abc"), 0);
    }

    #[test]
    fn short_and_distant_words_have_no_suggestion() {
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("adds", ["add"]), Some("add"));
        assert_eq!(nearest("add", ["add"]), None);
        assert_eq!(nearest(&"a".repeat(65), ["a"]), None);
    }
}
