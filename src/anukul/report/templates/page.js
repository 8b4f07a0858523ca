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
    const prob = (v) => (v === null || v === undefined ? "–" : v < 5 ? "< .001" : v >= 9995 ? "1.000" : (v / 10000).toFixed(3).slice(1));
    const sign = (v) => (v > 0 ? "+" : v < 0 ? "−" : "") + Math.abs(v / 10).toFixed(1);
    const one = (m) => m + " " + pct(e[m].accuracy[i]) + " [" + pct(e[m].low[i]) + ", " + pct(e[m].high[i]) + "], attention on the word " + pct(e[m].mass[i]);
    const beyond = (m) => (e[m].p[i] === null ? [] : ["beyond positions (" + m + "): p " + prob(e[m].p[i]) + (e[m].dots[i] === "1" ? ", outlives the correction" : ", does not outlive the correction")]);
    const c = e.changes, gap = e.adapted.accuracy[i] - e.base.accuracy[i];
    const turn = c ? ["all n = " + c.n + " arcs: " + sign(c.change[i]) + " [" + sign(c.low[i]) + ", " + sign(c.high[i]) + "] points, q " + prob(c.q[i]) + (c.up[i] === "1" ? ": gained" : c.down[i] === "1" ? ": lost" : ": no change found")] : [];
    const lines = map === "base" ? [one("base"), ...beyond("base")] : map === "adapted" ? [one("adapted"), ...beyond("adapted")] :
      ["adapted − base " + sign(gap) + " points", one("base"), one("adapted"), ...turn];
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
  // the same paths as heatmap.py draws for the first relation
  const overlay = (svg, group, held) => {
    const heads = +group.dataset.heads, first = group.children[0], count = group.children.length;
    const width = +first.getAttribute("width"), gap = width < 10 ? 1 : 2, size = width + gap, half = gap / 2;
    const at = (name, i) => +group.children[i].getAttribute(name);
    const border = (flags, i) => {
      const x = at("x", i) - half, y = at("y", i) - half, column = i % heads, on = (j) => flags[j] === "1";
      return (i + heads >= count || !on(i + heads) ? "M" + x + " " + y + "h" + size : "") +
        (i < heads || !on(i - heads) ? "M" + x + " " + (y + size) + "h" + size : "") +
        (column === 0 || !on(i - 1) ? "M" + x + " " + y + "v" + size : "") +
        (column === heads - 1 || !on(i + 1) ? "M" + (x + size) + " " + y + "v" + size : "");
    };
    const mark = (kind, i) => {
      const x = at("x", i) + width / 2, y = at("y", i) + width / 2, r = size * 0.16, s = r * 1.3;
      const arc = "a" + r + " " + r + " 0 1 0 ";
      return kind === "dots" ? "M" + (x - r) + " " + y + arc + 2 * r + " 0" + arc + -2 * r + " 0" :
        kind === "ups" ? "M" + (x - s) + " " + (y + s) + "h" + 2 * s + "l" + -s + " " + -2 * s + "z" :
        "M" + (x - s) + " " + (y - s) + "h" + 2 * s + "l" + -s + " " + 2 * s + "z";
    };
    const draw = (kind, flags, path) => {
      const line = svg.querySelector("." + kind);
      if (line) line.setAttribute("d", Array.from(flags || "", (flag, i) => (flag === "1" ? path(i) : "")).join(""));
    };
    draw("contour", held.above, (i) => border(held.above, i));
    draw("dots", held.dots, (i) => mark("dots", i));
    draw("ups", held.up, (i) => mark("ups", i));
    draw("downs", held.down, (i) => mark("downs", i));
  };
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
      overlay(svg, group, map === "difference" ? e.changes || {} : e[map]);
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
