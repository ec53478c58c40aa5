//! Which word somebody meant (pure).

use strsim::levenshtein;

/// Returns the word that is nearest, if it may be the same one misspelt.
pub(crate) fn nearest<T: AsRef<str>>(word: &str, all: impl IntoIterator<Item = T>) -> Option<T> {
    let near = all.into_iter().filter_map(|one| {
        let steps = levenshtein(word, one.as_ref());
        (steps <= NEAR.min(one.as_ref().len() / 2 + 1)).then_some((steps, one))
    });
    let nearest = near.min_by(|(one, a), (other, b)| (one, a.as_ref()).cmp(&(other, b.as_ref())));
    nearest.map(|(_, one)| one)
}

/// Names further apart are not the same name misspelt.
const NEAR: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_is_recognised_and_another_one_is_not() {
        for (word, meant) in [
            ("inof", Some("info")),
            ("warning", Some("warn")),
            ("of", Some("off")),
            ("nonsense", None),
            ("xyz", None),
        ] {
            assert_eq!(nearest(word, ["off", "warn", "info"]), meant, "{word}");
        }
    }
}
