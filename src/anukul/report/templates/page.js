"use strict";
(function () {
  const tip = document.getElementById("tip");
  const show = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(6, Math.min(x + 14, innerWidth - box.width - 6)) + "px";
    tip.style.top = (y + box.height + 20 > innerHeight ? Math.max(6, y - box.height - 12) : y + 14) + "px";
  };
  const explorer = document.querySelector("[data-explorer]");
  const data = explorer && JSON.parse(document.getElementById("heads-data").textContent);
  const select = document.getElementById("relation");
  const pct = (v) => (v === null || v === undefined ? "–" : (v / 10).toFixed(1) + " %");

  const cellTip = (cell) => {
    const group = cell.parentNode, heads = +group.dataset.heads, map = group.dataset.map;
    const cells = group.children, i = Array.prototype.indexOf.call(cells, cell);
    const where = "layer " + Math.floor(i / heads) + ", head " + (i % heads);
    const e = data.entries[select.value];
    const one = (m) => m + " " + pct(e[m].accuracy[i]) + " [" + pct(e[m].low[i]) + ", " + pct(e[m].high[i]) + "], attention on the word " + pct(e[m].mass[i]);
    const gap = e.adapted.accuracy[i] - e.base.accuracy[i];
    const lines = map === "base" ? [one("base")] : map === "adapted" ? [one("adapted")] :
      ["adapted − base " + (gap > 0 ? "+" : gap < 0 ? "−" : "") + Math.abs(gap / 10).toFixed(1) + " points", one("base"), one("adapted")];
    return [where, ...lines, "fixed offset (" + e.offset + ") " + pct(e.baseline) + ", n = " + e.n + " arcs"].join("\n");
  };
  const textOf = (node) => {
    if (node.dataset && node.dataset.tip) return node.dataset.tip;
    if (node.parentNode && node.parentNode.dataset && node.parentNode.dataset.map) return cellTip(node);
    const titled = node.closest && node.closest("[data-source]");
    return titled ? titled.dataset.source : "";
  };
  // the sources stand in `title` for readers without scripts; with them the page's own hover shows them, on touch too
  document.querySelectorAll("main [title]").forEach((node) => {
    node.dataset.source = node.title;
    node.removeAttribute("title");
  });
  const move = (event) => {
    const text = textOf(event.target);
    if (text) show(text, event.clientX, event.clientY); else tip.hidden = true;
  };
  document.addEventListener("pointermove", move, { passive: true });
  document.addEventListener("pointerdown", move, { passive: true });
  document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  const STEPS = 20;
  const level = (v, low, high) => Math.round(Math.min(1, Math.max(0, (v - low) / (high - low))) * STEPS);
  const paint = () => {
    const e = data.entries[select.value];
    explorer.querySelector(".line").textContent = e.line;
    explorer.querySelectorAll("[data-map]").forEach((group) => {
      const map = group.dataset.map, svg = group.ownerSVGElement;
      Array.prototype.forEach.call(group.children, (cell, i) => {
        const css = map === "difference"
          ? "d" + level((e.adapted.accuracy[i] - e.base.accuracy[i]) / 1000, -data.change, data.change)
          : "s" + level(e[map].accuracy[i] / 1000, 0, data.top);
        cell.setAttribute("class", map !== "difference" && e[map].best === i ? css + " best" : css);
      });
      svg.setAttribute("aria-label", map + ": " + e.line);
    });
  };
  if (explorer) { select.addEventListener("change", paint); paint(); }

  const links = Array.from(document.querySelectorAll("nav a"));
  if ("IntersectionObserver" in window) {
    const watch = new IntersectionObserver((seen) => seen.forEach((one) => {
      if (one.isIntersecting) links.forEach((a) => a.classList.toggle("here", a.hash === "#" + one.target.id));
    }), { rootMargin: "-20% 0px -70% 0px" });
    document.querySelectorAll("main section").forEach((part) => watch.observe(part));
  }
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
})();
