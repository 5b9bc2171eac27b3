//! Saved windows: taken up again by who counts the same, and by nobody else.

use std::sync::Arc;

use slowburn::engine::machine::SloWindows;
use slowburn::engine::time::Duration;
use slowburn::engine::{Engine, Spec};
use slowburn::store::windows;

use crate::memory::{healthy, plain};

#[test]
fn windows_of_another_configuration_are_not_taken() {
    let world = healthy();
    let (name, counted) = world.engine.windows_of(0).unwrap();
    assert_eq!(name, "checkout/database");
    let bytes = windows::encode(&counted).unwrap();
    let taken = |change: &dyn Fn(&mut Spec)| {
        let mut spec = plain();
        change(&mut spec);
        Engine::new(Arc::new(spec)).restore_windows(windows::decode(&bytes).unwrap())
    };
    assert!(taken(&|_| ()));
    assert!(taken(&|spec| spec.slos.swap(0, 1)), "by name, wherever it stands");
    assert!(!taken(&|spec| spec.interval = Duration::from_secs(10)));
    assert!(!taken(&|spec| spec.slos[0].selector = "other_seconds".into()));
    assert!(!taken(&|spec| spec.slos[0].budget_s = 0.2));
    assert!(!taken(&|spec| spec.slos[0].period = Duration::from_hours(2)));
    assert!(!taken(&|spec| drop(spec.slos.remove(0))));
    // Another format, and bytes that were cut.
    let of = |bytes: &[u8]| windows::decode::<SloWindows>(bytes).is_some();
    assert!(of(&bytes) && !of(&[&[9], &bytes[1..]].concat()) && !of(&bytes[..bytes.len() / 2]) && !of(&[]));
}
