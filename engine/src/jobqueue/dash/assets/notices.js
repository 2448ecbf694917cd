// A notice covers nothing under the pointer: it appears in the half of the window in which the pointer does not rest.
(() => {
  "use strict";

  const NOTICES = "notices"; // the id of the layout's NotificationContainer, as errors.py has it
  let place;

  function keepClear(event) {
    const clear = event.clientY < window.innerHeight / 2 ? "bottom-center" : "top-center";
    if (clear === place || document.querySelector(".mantine-Notification-root")) return; // one that is shown stays where it is
    place = clear;
    window.dash_clientside.set_props(NOTICES, { position: clear });
  }

  ["pointermove", "pointerdown"].forEach((name) => document.addEventListener(name, keepClear, { capture: true, passive: true }));
})();
