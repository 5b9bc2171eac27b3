//! How the standard pack fares on histories whose incidents are known, beside the two page rules that Sloth generates,
//! and what consecutive windows cost and save.
//!
//! Run with `cargo bench --bench quality`. 20 seeded histories of 14 days, 5 layers of 2 pods, 99% objectives.

#[path = "../tests/it/history.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod history;

#[path = "../tests/it/quality.rs"]
mod quality;

use quality::{Score, plan, score, spec};

const HISTORIES: u64 = 20;
const DAYS: i64 = 14;

fn main() {
    let contenders = [
        ("standard pack", "standard", 2),
        ("standard pack, consecutive: 1", "standard", 1),
        ("standard pack, consecutive: 4", "standard", 4),
        ("Sloth's windows (1h and 6h), no consecutive", "page-rules-of-sloth", 1),
    ];
    let mut scores = contenders.map(|_| Score::default());
    for seed in 1..=HISTORIES {
        let plan = plan(seed, DAYS);
        let series = plan.series();
        for ((_, pack, consecutive), total) in contenders.iter().zip(&mut scores) {
            total.add(score(&plan, &series, spec(pack, *consecutive)));
        }
    }
    println!("{:<45} {:>7} {:>7} {:>6} {:>11}", "", "paged", "delay", "pages", "unexplained");
    for ((name, ..), score) in contenders.iter().zip(&scores) {
        let paged = format!("{}/{}", score.delays_s.len(), score.grave);
        let delay = score.median_delay_s();
        println!("{name:<45} {paged:>7} {delay:>6.0}s {:>6} {:>11}", score.pages, score.unexplained);
    }
    let delay = scores[0].median_delay_s();
    println!("median delay against the limit of 210 s: {:.2}", delay / 210.0);
    println!("median delay against Sloth's windows: {:.2}", delay / scores[3].median_delay_s());
}
