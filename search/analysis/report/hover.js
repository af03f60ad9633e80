"use strict";
(() => {
  const REACH = 26;
  const tip = document.getElementById("tip");
  const texts = new Map();
  const models = new Map();
  let marked = [];

  const all = (attribute, value) => document.querySelectorAll(`[data-${attribute}="${value}"]`);

  // The browser's own tooltip would show beside this one.
  for (const title of document.querySelectorAll(".plot .dot > title")) {
    const dot = title.parentNode;
    texts.set(dot, title.textContent);
    if (dot.dataset.model && dot.dataset.trial) {
      texts.set(dot.dataset.trial, title.textContent);
      models.set(dot.dataset.trial, dot.dataset.model);
    }
    title.remove();
  }

  const hide = () => {
    tip.hidden = true;
    document.body.classList.remove("pointing");
    for (const dot of marked) dot.classList.remove("hit", "kin");
    marked = [];
  };

  const mark = (dots, name) => {
    for (const dot of dots) {
      dot.classList.add(name);
      marked.push(dot);
    }
  };

  const show = (dot) => {
    hide();
    const text = texts.get(dot) || texts.get(dot.dataset.trial);
    if (!text) return;
    const model = dot.dataset.model || models.get(dot.dataset.trial);
    if (model) mark(all("model", model), "kin");
    if (dot.dataset.trial) mark(all("trial", dot.dataset.trial), "hit");
    else mark([dot], "hit");
    document.body.classList.add("pointing");
    tip.textContent = text;
    tip.hidden = false;
    const at = dot.getBoundingClientRect();
    const room = document.documentElement.clientWidth;
    const left = Math.min(Math.max(8, at.left + at.width / 2 - tip.offsetWidth / 2),
      room - tip.offsetWidth - 8);
    const above = at.top - tip.offsetHeight - 12;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 8 ? above : at.bottom + 12}px`;
  };

  const nearest = (chart, event) => {
    let found = null;
    let least = REACH * REACH;
    for (const dot of chart.querySelectorAll(".dot")) {
      const box = dot.getBoundingClientRect();
      const x = box.left + box.width / 2 - event.clientX;
      const y = box.top + box.height / 2 - event.clientY;
      if (x * x + y * y < least) {
        least = x * x + y * y;
        found = dot;
      }
    }
    return found;
  };

  for (const chart of document.querySelectorAll(".plot, .strip, .tree")) {
    let waiting = null;
    let last = null;
    const point = (event) => {
      if (waiting === null) {
        requestAnimationFrame(() => {
          const dot = waiting && nearest(chart, waiting);
          waiting = null;
          if (dot === last && !tip.hidden) return;
          last = dot;
          if (dot) show(dot); else hide();
        });
      }
      waiting = event;
    };
    chart.addEventListener("pointermove", point);
    chart.addEventListener("pointerdown", point);
    chart.addEventListener("pointerleave", () => { waiting = null; last = null; hide(); });
  }
  document.addEventListener("focusin", (event) => {
    if (event.target.classList.contains("dot")) show(event.target);
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", () => {
    const active = document.activeElement;
    if (active && active.classList.contains("dot")) show(active); else hide();
  }, { passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
})();
