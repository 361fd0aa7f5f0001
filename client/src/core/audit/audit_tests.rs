//! What an audit sees, and what it must not see.

use super::*;

fn key(n: u64) -> PublicKey {
    PublicKey::from_byte_array(fedai_protocol::domain_separation::digest("test", &[&n.to_be_bytes()]))
}

/// Canary `n` has 40 + 30·n prompt tokens and an answer of 20 words.
fn honest(node: u64, canary: usize) -> CanaryAnswer {
    let words: Vec<String> = (0..20).map(|word| format!("word{}", canary * 31 + word)).collect();
    answer(node, canary, &words.join(" "), 40 + 30 * canary as u64, 27)
}

fn answer(node: u64, canary: usize, text: &str, input_tokens: u64, output_tokens: u64) -> CanaryAnswer {
    let outcome =
        CanaryOutcome::Answered { text: text.to_owned(), input_tokens, output_tokens, dispute: None };
    CanaryAnswer { node: key(node), make: "q8_0".into(), canary, outcome }
}

/// Three honest nodes and the answers of a fourth.
fn audit(fourth: impl Fn(usize) -> CanaryAnswer) -> NodeFinding {
    let answers: Vec<CanaryAnswer> =
        (0..6).flat_map(|at| [honest(1, at), honest(2, at), honest(3, at), fourth(at)]).collect();
    let findings = judge(&answers, None);
    assert_eq!(findings.len(), 4);
    for honest in findings.iter().filter(|finding| finding.node != key(4)) {
        assert_eq!((honest.metering, honest.identity), (AuditVerdict::Consistent, AuditVerdict::Consistent));
    }
    findings.into_iter().find(|finding| finding.node == key(4)).unwrap()
}

fn changed(answer: CanaryAnswer, change: impl Fn(&mut String, &mut u64, &mut u64)) -> CanaryAnswer {
    let CanaryOutcome::Answered { mut text, mut input_tokens, mut output_tokens, dispute } = answer.outcome
    else {
        unreachable!()
    };
    change(&mut text, &mut input_tokens, &mut output_tokens);
    CanaryAnswer { outcome: CanaryOutcome::Answered { text, input_tokens, output_tokens, dispute }, ..answer }
}

#[test]
fn honest_nodes_are_consistent() {
    let finding = audit(|at| honest(4, at));
    assert_eq!((finding.metering, finding.identity), (AuditVerdict::Consistent, AuditVerdict::Consistent));
    assert_eq!((finding.exact, finding.divergence_chars), (6, None));
    assert_eq!((finding.input_ratio, finding.output_ratio), (Some(1.0), Some(1.0)));
}

#[test]
fn an_over_count_is_seen_on_either_side_and_a_longer_template_is_none() {
    let of = |input: f64, output: f64, template: u64| {
        audit(|at| {
            changed(honest(4, at), |_, i, o| {
                *i = (*i as f64 * input).round() as u64 + template;
                *o = (*o as f64 * output).round() as u64;
            })
        })
        .metering
    };
    assert_eq!(of(1.1, 1.0, 0), AuditVerdict::Outlier);
    assert_eq!(of(1.0, 1.1, 0), AuditVerdict::Outlier);
    assert_eq!(of(2.0, 2.0, 0), AuditVerdict::Outlier);
    assert_eq!(of(1.0, 1.0, 25), AuditVerdict::Consistent);
    assert_eq!(of(0.8, 0.8, 0), AuditVerdict::Consistent, "who counts too little takes nothing");
}

#[test]
fn another_model_is_seen_and_one_late_divergence_is_none() {
    let early =
        audit(|at| changed(honest(4, at), |text, _, _| text.replace_range(12.., "something else entirely")));
    assert_eq!((early.identity, early.agreeing), (AuditVerdict::Outlier, 0));
    assert_eq!(early.divergence_chars, Some(12));
    let late = audit(|at| {
        changed(honest(4, at), |text, _, _| {
            if at == 2 {
                let from = text.len() - 10;
                text.replace_range(from.., "tipped over");
            }
        })
    });
    assert_eq!((late.identity, late.exact), (AuditVerdict::Consistent, 5));
}

#[test]
fn nothing_is_said_of_too_few_nodes_too_few_answers_or_general_disagreement() {
    let two: Vec<CanaryAnswer> = (0..6)
        .flat_map(|at| [honest(1, at), changed(honest(2, at), |_, i, o| (*i, *o) = (*i * 2, *o * 2))])
        .collect();
    let inconclusive = |answers: &[CanaryAnswer]| {
        judge(answers, None).iter().all(|finding| {
            (finding.metering, finding.identity) == (AuditVerdict::Inconclusive, AuditVerdict::Inconclusive)
        })
    };
    assert!(inconclusive(&two), "one of the two is wrong, and nobody knows which");
    let short: Vec<CanaryAnswer> = (0..2).flat_map(|at| (1..6).map(move |node| honest(node, at))).collect();
    assert!(inconclusive(&short));
    let noise: Vec<CanaryAnswer> = (0..6)
        .flat_map(|at| (1..6).map(move |node| answer(node, at, &format!("{node} says {at}"), 50, 10)))
        .collect();
    assert!(judge(&noise, None).iter().all(|finding| finding.identity == AuditVerdict::Inconclusive));
}

#[test]
fn a_reference_of_ones_own_judges_even_a_majority_of_liars() {
    let answers: Vec<CanaryAnswer> = (0..6)
        .flat_map(|at| {
            let liar = move |node| {
                changed(honest(node, at), |text, input, _| {
                    text.replace_range(5.., "the small model's answer");
                    *input *= 2;
                })
            };
            [honest(1, at), honest(2, at), liar(3), liar(4), liar(5)]
        })
        .collect();
    let findings = judge(&answers, Some(&key(1)));
    for finding in &findings {
        let expected = match finding.node {
            node if node == key(1) => AuditVerdict::Inconclusive,
            node if node == key(2) => AuditVerdict::Consistent,
            _ => AuditVerdict::Outlier,
        };
        assert_eq!(finding.identity, expected);
        let counted_double = finding.node != key(1) && finding.node != key(2);
        assert_eq!(finding.metering == AuditVerdict::Outlier, counted_double);
    }
}

#[test]
fn makes_are_judged_apart() {
    let other =
        |node, at| CanaryAnswer { make: "q4_0".into(), ..answer(node, at, "quite another text", 50, 9) };
    let answers: Vec<CanaryAnswer> = (0..6)
        .flat_map(|at| {
            [honest(1, at), honest(2, at), honest(3, at), other(4, at), other(5, at), other(6, at)]
        })
        .collect();
    assert!(judge(&answers, None).iter().all(|finding| !finding.is_outlier()));
}

#[test]
fn what_failed_and_what_was_disputed_is_told_and_weighed() {
    let mut answers: Vec<CanaryAnswer> =
        (0..6).flat_map(|at| (1..5).map(move |node| honest(node, at))).collect();
    for answer in answers.iter_mut().filter(|answer| answer.node == key(4) && answer.canary < 2) {
        answer.outcome = CanaryOutcome::Failed("timeout".into());
    }
    for answer in answers.iter_mut().filter(|answer| answer.node == key(3)) {
        if let CanaryOutcome::Answered { dispute, .. } = &mut answer.outcome {
            *dispute = Some("wrong_amount".into());
        }
    }
    let findings = judge(&answers, None);
    let of = |node| findings.iter().find(|finding| finding.node == key(node)).unwrap();
    assert_eq!((of(4).answered, of(4).failures["timeout"]), (4, 2));
    let (good, failing, dear) = (assertion(of(1)), assertion(of(4)), assertion(of(3)));
    assert!(failing.dimensions.delivery_permille < good.dimensions.delivery_permille);
    assert!(dear.dimensions.price_permille < 10 && dear.rank < good.rank);
    assert_eq!(good.dimensions.identity_permille, Some(1_000));
    assert!(good.rank > 0 && good.evidence.unwrap().metering.good_milli == 6_000);
}

#[test]
fn canaries_are_new_each_time_and_of_usual_and_different_sizes() {
    use fedai_protocol::entropy::CountingEntropy;
    let one = canary::write(12, &mut CountingEntropy(1));
    let other = canary::write(12, &mut CountingEntropy(1_000_000));
    assert!(one.iter().all(|canary| other.iter().all(|other| other.prompt != canary.prompt)));
    let sizes: Vec<usize> = one.iter().map(|canary| canary.prompt.len()).collect();
    let (shortest, longest) = (*sizes.iter().min().unwrap(), *sizes.iter().max().unwrap());
    assert!(shortest > 60 && longest < 3_000 && longest > shortest * 3, "{sizes:?}");
}
