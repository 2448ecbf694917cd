// Pictures of charts. The browser draws them with the page's own plotly.js, from the figure that the link's address serves.
(() => {
  "use strict";

  const SIZE = { width: 1000, height: 600 }; // pixels, of a figure without a size of its own
  const CLEAR = /^transparent$|^rgba\(.*,\s*0(\.0*)?\)$/;

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-picture]");
    if (!link) return;
    event.preventDefault();
    event.stopPropagation();
    draw(link).catch((error) => {
      console.warn("The picture cannot be drawn.", error);
      link.textContent = "PNG (failed, try again)";
    });
  }, true);

  async function draw(link) {
    const [answer, plotly] = await Promise.all([fetch(link.href), loaded()]);
    if (!answer.ok) throw new Error(`The figure was answered with ${answer.status}.`);
    const { data, layout = {} } = await answer.json();
    if (CLEAR.test(layout.paper_bgcolor)) layout.paper_bgcolor = "white"; // text is dark in a file
    const { width = SIZE.width, height = SIZE.height } = layout;
    const saved = document.createElement("a");
    saved.href = await plotly.toImage({ data, layout }, { format: "png", scale: 2, width, height });
    saved.download = link.dataset.picture;
    saved.click();
  }

  // Returns plotly.js, which a page without a chart has not loaded.
  function loaded() {
    return window.Plotly || new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = window._dashPlotlyJSURL;
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => reject(new Error("plotly.js cannot be loaded."));
      document.head.append(script);
    });
  }
})();
