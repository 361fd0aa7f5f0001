//! Reading single values out of a Prometheus text page.
//!
//! Why not a library: three numbers are needed, and labels differ by version. The rule: series of one
//! name are summed over their labels, and a page without the name gives `None`.

/// The sum of all series of that metric.
pub(crate) fn value(page: &str, metric: &str) -> Option<f64> {
    let mut sum = None;
    for line in page.lines() {
        let Some(rest) = line.strip_prefix(metric) else {
            continue;
        };
        let number = match rest.strip_prefix('{') {
            // A label value may hold spaces and braces, the number comes after the last one.
            Some(labelled) => labelled.rsplit_once('}').map(|(_, number)| number),
            None => rest.starts_with([' ', '\t']).then_some(rest),
        };
        let number = number.and_then(|n| n.split_whitespace().next()?.parse::<f64>().ok());
        if let Some(number) = number.filter(|n| n.is_finite()) {
            sum = Some(sum.unwrap_or(0.0) + number);
        }
    }
    sum
}

/// The same as a count.
pub(crate) fn count(page: &str, metric: &str) -> Option<u32> {
    value(page, metric).map(|n| n.max(0.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_and_longer_names_are_other_metrics() {
        let page = "# HELP a:b x\na:b{m=\"} 9\",n=\"1\"} 2\na:b{m=\"z\"} 1.5 1700000000\n\
                    a:b_total 7\na:c 4\na:d NaN\n";
        assert_eq!(value(page, "a:b"), Some(3.5));
        assert_eq!(count(page, "a:b_total"), Some(7));
        assert_eq!(value(page, "a:c"), Some(4.0));
        assert_eq!((value(page, "a:d"), value(page, "a:e")), (None, None));
    }
}
