// A notice covers nothing under the pointer: it appears in the half of the window in which the pointer does not rest.
(() => {
  "use strict";

  const NOTICES = "notices"; // the id of the layout's NotificationContainer, as errors.py has it
  let place;

  function keepClear(event) {
    const clear = event.clientY < window.innerHeight / 2 ? "bottom-center" : "top-center";
    if (clear === place || !isThere() || document.querySelector(".mantine-Notification-root")) return; // a shown one stays
    place = clear;
    window.dash_clientside.set_props(NOTICES, { position: clear });
  }

  function isThere() {
    try {
      return Boolean(window.dash_component_api.getLayout(NOTICES));
    } catch {
      return false; // the page is not loaded yet, or has no container
    }
  }

  ["pointermove", "pointerdown"].forEach((name) => document.addEventListener(name, keepClear, { capture: true, passive: true }));
})();
