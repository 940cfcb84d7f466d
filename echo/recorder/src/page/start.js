// Startup.

function onButton(id, act) {
  byId(id).addEventListener("click", (event) => {
    if (view.playing && id !== "play") stop();
    if (event.currentTarget.getAttribute("aria-disabled") !== "true") act();
    // After a click, Space should play and not press the button again.
    if (event.detail > 0) event.currentTarget.blur();
  });
}

function start() {
  fillKeys();
  prepareRows();
  onButton("first", () => goTo(0));
  onButton("back", () => goTo(positionBefore(current())));
  onButton("next", () => goTo(positionAfter(current())));
  onButton("play", play);
  onButton("help", () => byId("keys").showModal());
  onButton("follow", toggleFollow);
  onButton("asks", toggleAsks);
  byId("query").addEventListener("input", find);
  byId("search").addEventListener("keydown", onSearchKey);
  byId("wave").addEventListener("keydown", onSliderKey);
  document.addEventListener("keydown", onKey);
  document.addEventListener("click", onLink);
  for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("click", onDialog);
  for (const type of ["pointerdown", "pointermove"]) {
    byId("wave").addEventListener(type, onWave);
    byId("strip").addEventListener(type, onStrip);
  }
  prepareOverview();
  const again = () => {
    scaleSlide();
    layOutAll();
    show();
  };
  addEventListener("resize", again);
  narrow.addEventListener("change", again);
  touch.addEventListener("change", again);
  addEventListener("hashchange", onHash);
  scaleSlide();
  layOutAll();
  onHash();
  // Prepare all files while the reader reads the first screen, so that no step is slow.
  for (const file of tabFiles) if (file in data.files) setTimeout(() => listing(file));
}

start();
