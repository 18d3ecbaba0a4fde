/* Interactive figures and quizzes: no library, no request, a keyboard is enough.

   A figure is <figure class="interactive" data-figure="name"> with a <script> of JSON: its question,
   options, answer and description. bnnbook.figures[name](plot tools) draws it; the controls wake up
   once the reader has made a prediction. */
"use strict";
const bnnbook = { figures: {} };

(() => {
  const SVG = "http://www.w3.org/2000/svg";

  function add(parent, name, attributes = {}, text) {
    const svg = parent instanceof SVGElement || name === "svg";
    const made = svg ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  /* Axes with a layer to draw on; x and y are [from, to]. */
  function axes(parent, { x, y, xlabel, ylabel, alt, width = 440, height = 290 }) {
    const left = 52, bottom = 42, right = 10, top = 10;
    const svg = add(parent, "svg", {
      viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": alt, class: "plot",
    });
    const sx = (v) => left + ((v - x[0]) / (x[1] - x[0])) * (width - left - right);
    const sy = (v) => height - bottom - ((v - y[0]) / (y[1] - y[0])) * (height - bottom - top);
    const clip = `clip-${Math.random().toString(36).slice(2)}`;
    const box = { x: left, y: top, width: width - left - right, height: height - top - bottom };
    add(add(add(svg, "defs"), "clipPath", { id: clip }), "rect", box);
    add(svg, "rect", { ...box, class: "frame" });
    for (const [range, horizontal] of [[x, true], [y, false]]) {
      for (const tick of ticks(range)) {
        const at = horizontal
          ? { x: sx(tick), y: height - bottom + 16, "text-anchor": "middle" }
          : { x: left - 6, y: sy(tick) + 4, "text-anchor": "end" };
        add(svg, "text", at, String(tick).replace("-", "\u2212"));
      }
    }
    const middle = (box.y + box.height / 2).toFixed(1);
    add(svg, "text", { x: left + box.width / 2, y: height - 6, "text-anchor": "middle" }, xlabel);
    add(svg, "text", {
      x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})`,
    }, ylabel);
    const layer = add(svg, "g", { "clip-path": `url(#${clip})` });
    const path = (points) => points.map(([a, b], i) =>
      `${i ? "L" : "M"}${sx(a).toFixed(1)} ${sy(b).toFixed(1)}`).join("");
    return {
      svg, sx, sy, layer,
      invert: (px, py) => [
        x[0] + ((px - left) / box.width) * (x[1] - x[0]),
        y[0] + ((height - bottom - py) / box.height) * (y[1] - y[0]),
      ],
      clear: () => layer.replaceChildren(),
      line: (points, kind) => add(layer, "path", { d: path(points), class: `line ${kind}` }),
      area: (points, kind) => add(layer, "path", { d: `${path(points)}Z`, class: `area ${kind}` }),
      dot: (a, b, kind, r = 4) =>
        add(layer, "circle", { cx: sx(a).toFixed(1), cy: sy(b).toFixed(1), r, class: `dot ${kind}` }),
      text: (a, b, words, kind = "") =>
        add(layer, "text", { x: sx(a).toFixed(1), y: sy(b).toFixed(1), class: kind }, words),
    };
  }

  function ticks([from, to]) {
    const rough = (to - from) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const first = Math.ceil(from / step), last = Math.floor(to / step + 1e-9);
    return Array.from({ length: last - first + 1 }, (_, i) => +((first + i) * step).toPrecision(6));
  }

  /* A labelled slider; `show` writes its value, `map` turns its position into one. */
  function slider(parent, { label, min, max, step, value, map = (v) => v, show }, changed) {
    const box = add(parent, "label", { class: "control" });
    add(box, "span", {}, label);
    const input = add(box, "input", { type: "range", min, max, step, value });
    const shown = add(box, "output", {}, "");
    const tell = () => {
      const words = show(map(+input.value));
      shown.textContent = words;
      input.setAttribute("aria-valuetext", words);
    };
    input.addEventListener("input", () => { tell(); changed(); });
    tell();
    return () => map(+input.value);
  }

  /* Uniform numbers in (0, 1) from a seed (mulberry32), and standard normal ones. */
  function random(seed) {
    let state = seed;
    const uniform = () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
    };
    const normal = () =>
      Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
    return { uniform, normal };
  }

  function ask(root, { ask: question, options, answer, why }, done) {
    const box = add(root, "fieldset", { class: "question" });
    add(box, "legend", {}, `First predict: ${question}`);
    const reply = add(root, "p", { class: "reply", "aria-live": "polite" });
    options.forEach((words, i) => {
      const button = add(box, "button", { type: "button" }, words);
      button.addEventListener("click", () => {
        for (const other of box.querySelectorAll("button")) other.removeAttribute("aria-pressed");
        button.setAttribute("aria-pressed", "true");
        reply.textContent = `${i === answer ? "Yes." : "Not quite."} ${why}`;
        done();
      });
    });
  }

  function open(root) {
    const given = JSON.parse(root.querySelector("script").textContent);
    const body = document.createElement("div");
    body.className = "body";
    root.querySelector("figcaption").before(body);
    const controls = document.createElement("fieldset");
    controls.className = "controls";
    controls.disabled = true;
    add(controls, "legend", {}, "Then try it");
    ask(body, given, () => { controls.disabled = false; });
    const tools = {
      add, random, given, body, controls,
      axes: (settings) => axes(body, { alt: given.alt, ...settings }),
      slider: (settings, changed) => slider(controls, settings, changed),
      readout: add(document.createElement("div"), "p", { class: "readout", "aria-live": "polite" }),
    };
    bnnbook.figures[root.dataset.figure](tools);
    body.append(tools.readout, controls);
  }

  function openQuiz(root) {
    for (const question of root.querySelectorAll("fieldset")) {
      const reply = question.querySelector(".reply");
      const notes = [...question.querySelectorAll(".note")];
      for (const note of notes) note.hidden = true;
      for (const input of question.querySelectorAll("input")) {
        input.addEventListener("change", () => {
          const chosen = notes[+input.value];
          reply.textContent = chosen.textContent;
          reply.className = `reply ${chosen.dataset.right === "true" ? "right" : "wrong"}`;
        });
      }
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("figure.interactive").forEach(open);
    document.querySelectorAll("div.quiz").forEach(openQuiz);
  });
})();
