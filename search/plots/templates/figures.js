"use strict";
(() => {
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 40rem)");
  const charts = [...document.querySelectorAll(".chart")];
  const figures = new Map();
  let opened = null;

  const draw = (chart, isDark = dark.matches) => {
    const figure = figures.get(chart);
    const layout = { ...figure.layout, template: themes[isDark ? "dark" : "light"] };
    let data = figure.data;
    // The only figure of a page has all of its window.
    if (document.body.className === "single") delete layout.height;
    if (narrow.matches) {
      // Dragging scrolls the page; labels of points would cover one another.
      layout.dragmode = false;
      data = data.map((trace) => trace.mode === "markers+text" ? { ...trace, mode: "markers" } : trace);
    }
    const config = { responsive: true, displaylogo: false, displayModeBar: narrow.matches ? false : "hover" };
    return Plotly.react(chart, data, layout, config);
  };

  // The points of a trace as elements, in the order of its data: Plotly names its class by the
  // identifier that it gives the trace.
  const elements = (chart, curve) =>
    chart.querySelectorAll(`.scatterlayer .trace${chart._fullData[curve].uid} .points path`);

  const eachPoint = (visit) => {
    for (const chart of charts) {
      figures.get(chart).data.forEach((trace, curve) => {
        if (!trace.customdata) return;
        elements(chart, curve).forEach((element, index) =>
          visit(element, trace.customdata[index], trace, { chart, curve, index }));
      });
    }
  };

  const compareModel = (model) => eachPoint((element, data) => {
    element.style.opacity = model === null || (data && data[1] === model) ? "" : 0.12;
  });

  // Points of the frontier can be reached with the keyboard.
  const makeFocusable = () => eachPoint((element, data, trace, at) => {
    if (!(trace.meta && trace.meta.is_focusable) || element.tabIndex === 0) return;
    element.setAttribute("tabindex", "0");
    element.setAttribute("role", "img");
    element.setAttribute("aria-label", trace.hovertext[at.index].replace(/<br>/g, ", ").replace(/<\/?b>/g, ""));
    element.addEventListener("focus", () =>
      Plotly.Fx.hover(at.chart, [{ curveNumber: at.curve, pointNumber: at.index }]));
    element.addEventListener("blur", () => Plotly.Fx.unhover(at.chart));
  });

  const openRun = (chart, route) => {
    // MLflow shows artefacts as blobs of its own server, whatever its address is for this browser.
    const server = location.protocol === "blob:"
      ? new URL(location.href.slice(5)).origin : chart.dataset.server;
    const address = `${server}/${route}`;
    if (window.open(address, "_blank")) return;
    // Its frame lets no page open another.
    opened = opened || document.body.appendChild(document.createElement("div"));
    opened.className = "notice";
    opened.textContent = "Run of this trial, to copy into the address bar: ";
    opened.appendChild(document.createElement("code")).textContent = address;
  };

  const show = async (chart) => {
    figures.set(chart, JSON.parse(chart.querySelector("script").textContent));
    chart.replaceChildren();
    await draw(chart);
    chart.on("plotly_hover", (event) => {
      const data = event.points[0].customdata;
      if (data) compareModel(data[1]);
    });
    chart.on("plotly_unhover", () => compareModel(null));
    chart.on("plotly_afterplot", makeFocusable);
    chart.on("plotly_click", (event) => {
      const data = event.points[0].customdata;
      if ("server" in chart.dataset && data && data[2]) openRun(chart, data[2]);
    });
  };

  Promise.all(charts.map(show)).then(makeFocusable);
  for (const query of [dark, narrow]) {
    query.addEventListener("change", () => charts.forEach((chart) => draw(chart)));
  }
  addEventListener("beforeprint", () => charts.forEach((chart) => draw(chart, false)));
  addEventListener("afterprint", () => charts.forEach((chart) => draw(chart)));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") charts.forEach((chart) => Plotly.Fx.unhover(chart));
  });
})();
