//! Rounds with distinct keys: one statement may not write a row twice, so what names a row again comes a round later.

use std::{collections::HashMap, hash::Hash};

/// Splits items into rounds in each of which a key stands once; items of one key keep their order.
pub(super) fn with_distinct_keys<K: Eq + Hash, T>(items: impl Iterator<Item = (K, T)>) -> Vec<Vec<T>> {
    let mut next: HashMap<K, usize> = HashMap::new();
    let mut rounds: Vec<Vec<T>> = Vec::new();
    for (key, item) in items {
        let round = next.entry(key).or_default();
        if *round == rounds.len() {
            rounds.push(Vec::new());
        }
        rounds[*round].push(item);
        *round += 1;
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_once_in_a_round_and_keeps_its_order() {
        let items = [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("a", 5), ("b", 6)];
        assert_eq!(with_distinct_keys(items.into_iter()), [vec![1, 2, 4], vec![3, 6], vec![5]]);
        assert!(with_distinct_keys(std::iter::empty::<((), ())>()).is_empty());
    }
}
