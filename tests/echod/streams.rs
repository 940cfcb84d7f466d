//! The example for streams.

use crate::embedding::printed_by;

#[test]
fn streams_work_with_third_party_combinators() {
    let expected = "\
incoming: one, two, three
interval: 3 ticks, 3 of them on a grid of 5ms
both: signal, tick, tick
";
    assert_eq!(printed_by("streams"), expected);
}
