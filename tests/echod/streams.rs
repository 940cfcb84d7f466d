//! The example with streams.

use crate::embedding::printed_by;

#[test]
fn connections_ticks_and_signals_are_streams_with_everybodys_combinators() {
    let expected = "\
incoming: one, two, three
interval: 3 ticks, 3 of them on a grid of 5ms
both: signal, tick, tick
";
    assert_eq!(printed_by("streams"), expected);
}
