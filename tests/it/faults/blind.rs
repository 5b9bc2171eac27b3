//! The source is down, answers with errors, then with parts: nothing is resolved, and exactly one incident tells of it.

use slowburn::engine::notification::Reason;
use slowburn::engine::time::Duration;

use super::source::Trouble;
use super::world::{JOURNEYS, RECEIVERS, RULES, START, World};

const SOURCE: &str = "slowburn:source";

#[test]
fn a_source_down_for_half_an_hour_resolves_nothing_and_is_one_incident() {
    for scraping in [false, true] {
        let fires = |slot: usize| if (4..150).contains(&slot) { 60 } else { 0 };
        let script = [(0..500).map(fires).collect(), vec![0; 500], vec![0; 500]];
        let mut world = World::new(&[RECEIVERS, RULES, JOURNEYS].concat(), &script, 7);
        if scraping {
            world = world.scraping();
        }
        let minute = |minute: i64| START + Duration::from_minutes(minute);
        let up_to = |end: i64| minute(end) - Duration::from_ms(1);
        world.source.troubles = vec![
            (minute(15)..minute(45), Trouble::Silent("cannot connect")),
            (minute(45)..minute(55), Trouble::Silent("answered 503")),
            (minute(55)..minute(65), Trouble::Partial(0)),
        ];
        world.run_until(up_to(15));
        let before = world.decided.len();
        assert!(before > 0 && !world.engine.view().alerts.is_empty());

        // Out of sight: one incident, told once to each receiver.
        world.run_until(up_to(55));
        let told = world.decided[before..].to_vec();
        assert!(told.iter().all(|told| told.notification.incident == SOURCE), "{told:#?}");
        assert_eq!(told.iter().map(|told| told.notification.reason).collect::<Vec<_>>(), [Reason::Blind; 3]);
        assert_eq!(world.engine.view().missed.slots, 80);

        // The answers are parts: sight is back, and the layer that is missing is not taken to be well.
        world.run_until(up_to(65));
        let told: Vec<_> = world.decided[before + 3..].iter().map(|told| told.notification.clone()).collect();
        let (ends, news): (Vec<_>, Vec<_>) = told.iter().partition(|told| told.incident == SOURCE);
        assert_eq!(ends.iter().map(|told| told.reason).collect::<Vec<_>>(), [Reason::Resolved; 3]);
        assert!(news.iter().all(|told| told.reason != Reason::Resolved), "{news:#?}");
        assert!(world.engine.view().alerts.iter().any(|alert| alert.layer.as_deref() == Some("edge")));

        world.run_until(minute(240));
        let blind = world.decided.iter().filter(|told| told.notification.incident == SOURCE).count();
        assert_eq!(blind, 6, "one incident and its end");
        assert!(world.engine.view().alerts.is_empty());
        world.judge();
    }
}
