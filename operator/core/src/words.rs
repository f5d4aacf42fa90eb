//! When two sentences say the same. Never decides what is said.

/// A sentence without its numbers: two that differ in numbers alone (a silence that goes on, a count that
/// grows) say the same.
#[must_use]
pub fn meaning(text: &str) -> String {
    let words: Vec<&str> = text
        .split_whitespace()
        .filter(|word| !is_number(word))
        .collect();
    words.join(" ")
}

/// Whether a word is only a number. Names and dates are not.
fn is_number(word: &str) -> bool {
    let bare = word.trim_matches(|c: char| !c.is_ascii_digit());
    !bare.is_empty() && bare.chars().all(|c| c.is_ascii_digit() || c == '.') && !word.contains('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_around_them_are_numbers_and_names_are_not() {
        for number in ["1689", "133.9);", "1544"] {
            assert!(is_number(number), "{number}");
        }
        for word in ["db-1", "ms", "(phi", "epoch"] {
            assert!(!is_number(word), "{word}");
        }
    }

    #[test]
    fn a_silence_that_goes_on_says_the_same() {
        let (one, two) = (
            "silent for 1001 ms (phi 18.2)",
            "silent for 84957 ms (phi 30.1)",
        );
        assert_eq!(meaning(one), meaning(two));
        assert_ne!(meaning("db-1 is lost"), meaning("db-2 is lost"));
    }
}
