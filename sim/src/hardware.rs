//! Hardware that nodes run on: classes of runners, with where their numbers come from.
//!
//! Data-centre classes are fitted from measurements ([`crate::calibration::perf_model`]); the machine of the project's
//! own runs is fitted from what was observed of a real server; home classes are estimates, and say so.

use crate::runner::{BLOCK_TOKENS, Emit, KvCapacity, RunnerProfile, StepCost};

/// A class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardwareClass {
    /// Name.
    pub name: &'static str,
    /// Model that the numbers are for.
    pub model: &'static str,
    /// The runner.
    pub runner: RunnerProfile,
    /// What a million prompt tokens are offered at, in msat: an estimate. Output costs three times as much.
    pub price: u64,
    /// Where the numbers come from.
    pub source: &'static str,
}

/// Classes of a market for one model of eight billion parameters at four bits, from a home server to a data centre.
///
/// Decoding reads all weights (4.7 GB) for each step, so its rate is the memory's bandwidth over that: 45 GB/s of a
/// desktop's memory, 130 of a laptop with unified memory, 300 of a graphics card of the middle class, 450 of a
/// server's. Homes have room for 32,768 tokens a slot; the server shares 34 GB among its sequences.
pub const MARKET: [HardwareClass; 4] = [
    HardwareClass { price: 60_000, ..home("cpu", 1, 120, 9) },
    HardwareClass { price: 90_000, ..home("laptop", 2, 400, 28) },
    HardwareClass { price: 140_000, ..home("desktop gpu", 4, 2_500, 65) },
    HardwareClass {
        price: 220_000,
        runner: RunnerProfile {
            kv: KvCapacity::Blocks(262_144 / BLOCK_TOKENS),
            ..RunnerProfile::of_rates(8, 9_000, 95, BATCH_COST_PERMILLE)
        },
        ..home("server gpu", 8, 9_000, 95)
    },
];

/// Measured classes: big models on several accelerators, and a small one on a core.
pub const MEASURED: [HardwareClass; 9] = [
    HardwareClass {
        name: "1 core, llama.cpp",
        model: "smollm2-135m q4_1",
        runner: RunnerProfile {
            slots: 4,
            queue_max: 4_096,
            step_tokens: 2_048,
            cost: OBSERVED_CPU,
            kv: KvCapacity::PerSlot(2_048),
            emit: Emit::EveryToken,
        },
        price: 20_000,
        source: "observed: sim/data/observed_llama_cpp.jsonl",
    },
    splitwise(
        "8 x a100",
        "bloom-176b",
        [47_886_086_626_162, 494_646_187_455, 413_501_036, 41_460_817_274_048, 258_468_671_189, 31_217_087],
        55_803,
    ),
    splitwise(
        "8 x h100",
        "bloom-176b",
        [35_410_391_179_160, 333_356_900_595, 163_827_154, 23_451_797_462_647, 108_989_886_719, 14_457_985],
        55_803,
    ),
    splitwise(
        "2 x a100",
        "llama2-70b",
        [56_568_164_324_194, 465_801_025_934, 218_861_025, 29_192_089_556_799, 343_017_773_979, 333_829],
        18_310,
    ),
    splitwise(
        "4 x a100",
        "llama2-70b",
        [43_332_198_390_873, 271_815_580_858, 295_649_489, 20_676_037_025_525, 227_021_319_204, 4_524_307],
        457_763,
    ),
    splitwise(
        "8 x a100",
        "llama2-70b",
        [44_197_685_619_673, 268_182_134_142, 263_517_200, 29_728_057_332_931, 135_589_665_194, 6_622_316],
        1_336_669,
    ),
    splitwise(
        "2 x h100",
        "llama2-70b",
        [37_025_249_688_235, 328_345_734_097, 36_108_812, 24_750_925_111_909, 123_365_384_314, 7_268_614],
        18_310,
    ),
    splitwise(
        "4 x h100",
        "llama2-70b",
        [28_633_399_552_563, 280_914_825_266, 130_473_104, 22_300_834_419_527, 81_694_163_093, 5_584_699],
        457_763,
    ),
    splitwise(
        "8 x h100",
        "llama2-70b",
        [30_045_463_266_771, 226_647_487_766, 142_349_506, 28_080_196_256_404, 55_431_752_621, 6_796_477],
        1_336_669,
    ),
];

const fn home(name: &'static str, slots: u32, prefill: u64, decode: u64) -> HardwareClass {
    let runner = RunnerProfile {
        kv: KvCapacity::PerSlot(32_768),
        ..RunnerProfile::of_rates(slots, prefill, decode, BATCH_COST_PERMILLE)
    };
    let source = "estimate: memory bandwidth over the size of the weights";
    HardwareClass { name, model: "8b q4", runner, price: 0, source }
}

/// Costs in femtoseconds in the order of [`StepCost`], as `calibrate --perf-model` gives them.
const fn splitwise(
    name: &'static str,
    model: &'static str,
    costs: [u64; 6],
    kv_tokens: u64,
) -> HardwareClass {
    let [step, sequence, context_token, prefill_step, prefill_token, prefill_pair] = costs;
    let cost = StepCost { step, sequence, context_token, prefill_step, prefill_token, prefill_pair };
    let kv = KvCapacity::Blocks(kv_tokens / BLOCK_TOKENS);
    let (queue_max, step_tokens, emit) = (4_096, 2_048, Emit::EveryToken);
    let runner = RunnerProfile { slots: 64, queue_max, step_tokens, cost, kv, emit };
    let source = "fitted: Splitwise's measurements, sim/data/splitwise_medians.csv";
    HardwareClass { name, model, runner, price: 600_000, source }
}

/// One core of a server with Intel Xeon, one thread: see [`MEASURED`].
const OBSERVED_CPU: StepCost = StepCost {
    step: 10_032_302_146_896,
    sequence: 8_474_692_791_211,
    context_token: 17_670_470_196,
    prefill_step: 6_437_493_541_337,
    prefill_token: 6_796_487_350_734,
    prefill_pair: 1_671_876_444,
};
/// What a further sequence adds to a step at small batches: the weights are read once for all.
const BATCH_COST_PERMILLE: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::observation::Observations;
    use crate::calibration::perf_model::fit_table;
    use crate::calibration::report::CalibrationReport;

    #[test]
    fn data_centre_classes_are_what_the_measurements_give() {
        for fit in fit_table(include_str!("../data/splitwise_medians.csv")).unwrap() {
            let hardware = fit.hardware.trim_end_matches("-80gb");
            let name = format!("{} x {hardware}", fit.tensor_parallel);
            let class = MEASURED.iter().find(|class| class.name == name && class.model == fit.model).unwrap();
            assert_eq!(class.runner.cost, fit.cost, "{name} with {}", fit.model);
            assert_eq!(class.runner.kv, KvCapacity::Blocks(fit.kv_tokens / BLOCK_TOKENS));
        }
    }

    #[test]
    fn the_observed_class_is_what_the_recording_gives_and_keeps_its_bounds() {
        let text = include_str!("../data/observed_llama_cpp.jsonl");
        let report = CalibrationReport::new(&Observations::parse(text).unwrap()).unwrap();
        assert!(report.passed, "{:#?}", report.gates);
        assert_eq!(report.profile.runner.cost, MEASURED[0].runner.cost, "{:#?}", report.profile);
    }

    #[test]
    fn a_market_is_in_order_of_speed_and_price() {
        let faster = |pair: &[HardwareClass]| {
            let (slow, fast) = (&pair[0].runner.cost, &pair[1].runner.cost);
            slow.step > fast.step && slow.prefill_token > fast.prefill_token && pair[0].price < pair[1].price
        };
        assert!(MARKET.windows(2).all(faster));
    }
}
