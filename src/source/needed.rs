//! Which bounds of a histogram its budgets need: most buckets never have to be read.

/// The bounds that the budgets' counts come from, ascending: each budget itself, or else its neighbours; and `+Inf`.
///
/// Bounds that a series had at different times may be mixed here. If one that is picked was missing at some slot, that
/// shows in what is read, and all of them are read instead.
pub(super) fn needed(bounds: impl Iterator<Item = f64> + Clone, budgets_s: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut wanted = Vec::new();
    for budget_s in budgets_s {
        wanted.push(f64::INFINITY);
        if bounds.clone().any(|bound| bound == budget_s) {
            wanted.push(budget_s);
        } else {
            wanted.extend(bounds.clone().filter(|bound| *bound < budget_s).max_by(f64::total_cmp));
            wanted.extend(bounds.clone().filter(|bound| *bound > budget_s).min_by(f64::total_cmp));
        }
    }
    wanted.sort_by(f64::total_cmp);
    wanted.dedup();
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_or_its_neighbours() {
        let check = |bounds: &[f64], budgets_s: &[f64], expected: &[f64]| {
            assert_eq!(needed(bounds.iter().copied(), budgets_s.iter().copied()), expected);
        };
        let inf = f64::INFINITY;
        check(&[0.1, 0.2, 0.5, inf], &[0.2], &[0.2, inf]);
        check(&[inf, 0.5, 0.1, 0.2], &[0.3], &[0.2, 0.5, inf]);
        check(&[0.1, 0.2, 0.5, inf], &[0.05, 0.5], &[0.1, 0.5, inf]);
        check(&[0.1, inf], &[0.2], &[0.1, inf]);
        check(&[0.1, f64::NAN], &[0.2], &[0.1, inf]);
        check(&[0.1, inf], &[], &[]);
    }
}
