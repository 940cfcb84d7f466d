// The numbers of tasks in the wave, beside the color.

/**
 * On the lanes that tasks share, only the color of a mark shows its task. The number stands below the
 * first mark of each sequence of marks of one task.
 */
function taskNumbers(layout, { first, last }) {
  const { run, sizes, lanes, laneAt } = layout;
  if (!sizes.names) return [];
  const numbers = [];
  let before = null;
  for (let at = first; at <= last; at++) {
    const position = run.shown[at];
    const step = run.step(position);
    if (step.task === null || lanes[laneAt(step)].task === step.task) continue;
    if (step.task !== before) {
      const { x, y } = pointOf(layout, position);
      // The edge of the window would cut it. The next mark takes it over.
      if (x < scroll + 4) continue;
      const style = `task-number ${position === run.position ? "strong" : hue(step.task)}`;
      const words = String(step.task);
      if (isWhole(layout, x, words.length * LETTER_WIDTH)) numbers.push(draw("text", { class: style, x, y: y + sizes.radius + 10.5 }, words));
    }
    before = step.task;
  }
  return numbers;
}
