//! What a run says before it is steady is not counted: routers know nobody, and nodes are empty.
//!
//! The rule: the first part of the *requests* is cut, by order of arrival and the same for every policy, so that all
//! are judged on the same requests. Time would not do: a slow policy would be judged on fewer of them.

/// Requests to leave out of so many: a share in thousandths, and never all.
#[must_use]
pub const fn cut(requests: usize, permille: usize) -> usize {
    let cut = requests.saturating_mul(permille) / 1_000;
    if cut < requests { cut } else { requests.saturating_sub(1) }
}

/// Share that comparisons cut by default, in thousandths.
pub const SHARE_PERMILLE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_cut_and_something_stays() {
        let cases = [(1_000, 200, 200), (7, 200, 1), (1, 1_000, 0), (0, 200, 0), (10, 1_000, 9)];
        for (requests, permille, expected) in cases {
            assert_eq!(cut(requests, permille), expected, "{requests} {permille}");
        }
    }
}
