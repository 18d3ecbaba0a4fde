/* What the interactive figures show; interactive.js has the tools. */
"use strict";
(() => {
  const two = (v) => (Math.abs(v) < 1e-9 ? 0 : v).toFixed(2).replace("-", "\u2212");
  const grid = (from, to, n) => Array.from({ length: n }, (_, i) => from + ((to - from) * i) / (n - 1));

  /* Points of the ellipse at `width` sds of a normal with sds a, b and correlation r. */
  function ellipse(a, b, r, width) {
    return grid(0, 2 * Math.PI, 90).map((t) => {
      const u = Math.cos(t), v = r * u + Math.sqrt(1 - r * r) * Math.sin(t);
      return [width * a * u, width * b * v];
    });
  }

  /* Mean-field and full-rank normals for a correlated normal target: the minimum of KL(q || p). */
  bnnbook.figures.families = ({ axes, slider, readout }) => {
    const plot = axes({ x: [-3, 3], y: [-3, 3], xlabel: "first weight", ylabel: "second weight",
      width: 360, height: 340 });
    const rho = slider({ label: "correlation", min: 0, max: 0.99, step: 0.01, value: 0.8, show: two },
      draw);
    function draw() {
      const r = rho(), sd = Math.sqrt(1 - r * r);
      plot.clear();
      for (const width of [1, 2]) {
        plot.line(ellipse(1, 1, r, width), "target");
        plot.line(ellipse(sd, sd, 0, width), "first");
      }
      plot.text(-2.8, 2.6, "posterior", "target-text");
      plot.text(-2.8, 2.2, "mean field", "first-text");
      readout.textContent = `Each sd of the mean-field approximation is ${two(sd)} of the true one; ` +
        `KL divergence ${two(-0.5 * Math.log(1 - r * r))} nats. Full rank has both right.`;
    }
    draw();
  };

  /* Group means under a normal prior of sd tau around their common mean. */
  bnnbook.figures.pooling = ({ axes, slider, readout }) => {
    const truth = [-1.1, -0.7, -0.3, 0, 0.2, 0.5, 0.8, 1.3];
    const seen = [-1.9, 0.3, -0.8, 0.9, -0.2, 1.4, 0.1, 2.2];
    const se = [0.9, 0.9, 0.5, 0.9, 0.4, 0.9, 0.6, 0.9];
    const plot = axes({ x: [0, 9], y: [-2.5, 2.8], xlabel: "group", ylabel: "mean of the group" });
    const tau = slider({ label: "spread of the groups, \u03c4", min: -2, max: 1.5, step: 0.05, value: 1.5,
      map: (v) => 10 ** v, show: (v) => v.toPrecision(2) }, draw);
    const error = (values) =>
      Math.sqrt(values.reduce((sum, v, j) => sum + (v - truth[j]) ** 2, 0) / truth.length);
    function draw() {
      const t = tau(), weights = se.map((s) => 1 / (s * s + t * t));
      const total = weights.reduce((a, b) => a + b);
      const common = seen.reduce((sum, v, j) => sum + weights[j] * v, 0) / total;
      const pooled = seen.map((v, j) => {
        const keep = (t * t) / (t * t + se[j] ** 2);
        return keep * v + (1 - keep) * common;
      });
      plot.clear();
      plot.line([[0, common], [9, common]], "target");
      seen.forEach((v, j) => {
        plot.line([[j + 1, v], [j + 1, pooled[j]]], "thin");
        plot.dot(j + 1, v, "open", 3 + 1.2 / se[j]);
        plot.dot(j + 1, pooled[j], "first", 5);
        plot.line([[j + 0.75, truth[j]], [j + 1.25, truth[j]]], "second");
      });
      readout.textContent = "Open circles: the groups' own means (larger: more data). Filled: the " +
        "estimates. Bars: the truth. Root mean squared error " +
        `${two(error(pooled))}; with each group alone it is ${two(error(seen))}.`;
    }
    draw();
  };

  /* One leapfrog trajectory on a normal with sds 1 and 0.3. */
  bnnbook.figures.leapfrog = ({ axes, slider, readout }) => {
    const sds = [1, 0.3];
    const plot = axes({ x: [-2.6, 2.6], y: [-1.7, 1.7], xlabel: "first weight", ylabel: "second weight" });
    const eps = slider({ label: "step size", min: 0.02, max: 0.7, step: 0.01, value: 0.1, show: two }, draw);
    const count = slider({ label: "steps", min: 1, max: 60, step: 1, value: 25, show: String }, draw);
    const energy = (q, p) => [0, 1].reduce(
      (sum, i) => sum + (q[i] / sds[i]) ** 2 / 2 + p[i] ** 2 / 2, 0);
    function draw() {
      const e = eps(), q = [1.5, 0.35], p = [-0.3, 1], path = [[...q]], start = energy(q, p);
      const kick = () => q.forEach((v, i) => { p[i] -= (e / 2) * v / sds[i] ** 2; });
      for (let step = 0; step < count(); step++) {
        kick();
        q.forEach((v, i) => { q[i] = v + e * p[i]; });
        kick();
        path.push([...q]);
      }
      const change = energy(q, p) - start;
      plot.clear();
      for (const width of [1, 2]) plot.line(ellipse(...sds, 0, width), "target");
      plot.line(path, "first");
      path.forEach(([a, b], i) => plot.dot(a, b, i ? "first" : "second", i ? 2.5 : 6));
      const accept = Math.min(1, Math.exp(-change));
      readout.textContent = `Energy error at the end ${Math.abs(change) < 1000 ? two(change)
        : change.toExponential(1)} nats: accepted with probability ${two(accept)}.` +
        (e >= 0.6 ? " Beyond a step size of .6, twice the smaller sd, the error grows without bound." : "");
    }
    draw();
  };

  /* Cholesky factor of a positive definite matrix, and its solutions. */
  function cholesky(matrix) {
    const L = matrix.map((row) => row.map(() => 0));
    matrix.forEach((row, i) => {
      for (let j = 0; j <= i; j++) {
        let sum = row[j];
        for (let k = 0; k < j; k++) sum -= L[i][k] * L[j][k];
        L[i][j] = i === j ? Math.sqrt(sum) : sum / L[j][j];
      }
    });
    const forward = (b) => {
      const out = [];
      L.forEach((row, i) => {
        let sum = b[i];
        for (let k = 0; k < i; k++) sum -= row[k] * out[k];
        out.push(sum / row[i]);
      });
      return out;
    };
    return forward;
  }

  /* Posterior of normal weights on fixed features; points are dragged, or moved with the arrows. */
  function refit(tools, features, start) {
    const { axes, slider, readout } = tools, points = start.map((p) => [...p]);
    const plot = axes({ x: [-3, 3], y: [-3, 3], xlabel: "input", ylabel: "output" });
    const noise = slider({ label: "sd of the noise", min: 0.1, max: 1, step: 0.05, value: 0.3, show: two }, draw);
    const handles = points.map((point, i) => {
      const dot = tools.add(plot.svg, "circle", {
        r: 8, class: "dot handle", tabindex: 0, role: "slider", "aria-label": `point ${i + 1}`,
        "aria-valuemin": -3, "aria-valuemax": 3,
      });
      const move = (a, b) => {
        if (tools.controls.disabled) return;
        point[0] = Math.max(-2.9, Math.min(2.9, a));
        point[1] = Math.max(-2.9, Math.min(2.9, b));
        draw();
      };
      dot.addEventListener("pointerdown", (event) => dot.setPointerCapture(event.pointerId));
      dot.addEventListener("pointermove", (event) => {
        if (!dot.hasPointerCapture(event.pointerId)) return;
        const at = new DOMPoint(event.clientX, event.clientY)
          .matrixTransform(plot.svg.getScreenCTM().inverse());
        move(...plot.invert(at.x, at.y));
      });
      dot.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
        if (!(event.key in by)) return;
        event.preventDefault();
        move(point[0] + by[event.key][0], point[1] + by[event.key][1]);
      });
      return dot;
    });
    function draw() {
      const s2 = noise() ** 2, rows = points.map(([x]) => features(x)), size = rows[0].length;
      const precision = grid(0, size - 1, size).map((_, i) => grid(0, size - 1, size).map((_, j) =>
        rows.reduce((sum, row) => sum + row[i] * row[j] / s2, i === j ? 1 : 0)));
      const forward = cholesky(precision);
      const target = forward(rows[0].map((_, i) =>
        rows.reduce((sum, row, n) => sum + row[i] * points[n][1] / s2, 0)));
      const curve = grid(-3, 3, 121).map((x) => {
        const f = forward(features(x));
        return [x, f.reduce((sum, v, i) => sum + v * target[i], 0),
          Math.sqrt(f.reduce((sum, v) => sum + v * v, 0))];
      });
      plot.clear();
      plot.area([...curve.map(([x, m, s]) => [x, m + 2 * s]),
        ...curve.map(([x, m, s]) => [x, m - 2 * s]).reverse()], "band");
      plot.line(curve.map(([x, m]) => [x, m]), "first");
      points.forEach(([x, y], i) => {
        handles[i].setAttribute("cx", plot.sx(x).toFixed(1));
        handles[i].setAttribute("cy", plot.sy(y).toFixed(1));
        handles[i].setAttribute("aria-valuenow", y.toFixed(1));
        handles[i].setAttribute("aria-valuetext", `input ${two(x)}, output ${two(y)}`);
      });
      readout.textContent = `Line and band: mean and two sds of the function. Its sd at input 0 is ` +
        `${two(curve[60][2])}, at input 3 it is ${two(curve[120][2])}.`;
    }
    draw();
  }
  bnnbook.figures.line = (tools) => refit(tools, (x) => [1, x],
    [[-1.5, -1], [-0.6, -0.2], [0.4, 0.1], [1.2, 1.1]]);
  const centres = grid(-3.5, 3.5, 20);
  bnnbook.figures.refit = (tools) => refit(tools,
    (x) => centres.map((c) => Math.exp(-((x - c) ** 2) / 0.5)),
    [[-2.2, -0.6], [-1.6, 0.5], [-1.1, 1], [1.3, -0.4], [1.9, 0.4], [2.3, 1.2]]);

  /* Ranks of a standard normal truth among draws of a normal with another mean and sd. */
  bnnbook.figures.ranks = ({ axes, slider, readout }) => {
    const edges = [-Infinity, -1.645, -1.282, -1.036, -0.842, -0.674, -0.524, -0.385, -0.253, -0.126,
      0, 0.126, 0.253, 0.385, 0.524, 0.674, 0.842, 1.036, 1.282, 1.645, Infinity];
    const below = (z) => { // Abramowitz and Stegun 26.2.17
      if (!Number.isFinite(z)) return z > 0 ? 1 : 0;
      const t = 1 / (1 + 0.2316419 * Math.abs(z)), tail = Math.exp(-z * z / 2) / 2.5066283 * t *
        (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
      return z > 0 ? 1 - tail : tail;
    };
    const plot = axes({ x: [0, 1], y: [0, 5], xlabel: "rank of the truth / draws", ylabel: "density" });
    const sd = slider({ label: "sd of the method / exact sd", min: -1, max: 1, step: 0.05, value: 0,
      map: (v) => 4 ** v, show: two }, draw);
    const bias = slider({ label: "bias, in exact sds", min: -1.5, max: 1.5, step: 0.05, value: 0,
      show: two }, draw);
    function draw() {
      const s = sd(), b = bias();
      plot.clear();
      edges.slice(1).forEach((edge, i) => {
        const height = Math.min(5, 20 * (below(b + s * edge) - below(b + s * edges[i])));
        const left = i / 20 + 0.004, right = (i + 1) / 20 - 0.004;
        plot.area([[left, 0], [left, height], [right, height], [right, 0]], "band");
      });
      plot.line([[0, 1], [1, 1]], "second");
      const held = below(b + 1.645 * s) - below(b - 1.645 * s);
      readout.textContent = `The method's 90 % intervals hold ${Math.round(100 * held)} % of the truths.`;
    }
    draw();
  };

  /* A filter of three weights on a signal with a bump. */
  bnnbook.figures.convolution = ({ axes, slider, readout }) => {
    const n = 20;
    const plot = axes({ x: [-0.6, n - 0.4], y: [-2.2, 2.2], xlabel: "place", ylabel: "value" });
    const place = slider({ label: "place of the bump", min: 2, max: 14, step: 1, value: 6,
      show: String }, draw);
    const kind = slider({ label: "filter, from edges (0) to blur (1)", min: 0, max: 1, step: 0.05,
      value: 0, show: two }, draw);
    function draw() {
      const at = place(), t = kind(), w = [t / 3 - (1 - t), t / 3, t / 3 + (1 - t)];
      const x = Array.from({ length: n }, (_, i) => (i >= at && i < at + 4 ? 1 : 0));
      const out = x.slice(1, -1).map((_, i) =>
        [i + 1, w[0] * x[i] + w[1] * x[i + 1] + w[2] * x[i + 2]]);
      plot.clear();
      x.forEach((v, i) => plot.area([[i - 0.4, 0], [i - 0.4, v], [i + 0.4, v], [i + 0.4, 0]], "band"));
      plot.line([[-0.6, 0], [n, 0]], "thin");
      plot.line(out, "second");
      readout.textContent = `Weights ${w.map(two).join(", ")}: three for ${n - 2} places. ` +
        `A dense layer would have ${n * (n - 2)}.`;
    }
    draw();
  };

  /* Reservations for a count: the quantile that two costs choose, beside the mean. */
  bnnbook.figures.newsvendor = ({ axes, slider, readout }) => {
    const mean = 3, most = 400;
    const plot = axes({ x: [-0.6, 15.6], y: [0, 0.5], xlabel: "visits, or reservations",
      ylabel: "probability" });
    const ratio = slider({ label: "cost of a missing visit / of an idle one", min: -1, max: 1.5,
      step: 0.05, value: 0.95, map: (v) => 10 ** v, show: (v) => v.toPrecision(2) }, draw);
    const width = slider({ label: "overdispersion, 1/\u03b1", min: 0.02, max: 2.5, step: 0.02, value: 1.3,
      show: two }, draw);
    function draw() {
      const c = ratio(), a = 1 / width(), p = [(a / (a + mean)) ** a];
      for (let k = 0; k < most; k++) p.push((p[k] * (k + a) / (k + 1)) * mean / (mean + a));
      const cost = (r) => p.reduce((sum, q, k) => sum + q * (k > r ? c * (k - r) : r - k), 0);
      const costs = grid(0, 15, 16).map(cost), top = Math.max(...costs);
      let best = 0;
      for (let below = p[0]; below < c / (c + 1); below += p[best]) best += 1;
      plot.clear();
      p.slice(0, 16).forEach((q, k) => plot.area(
        [[k - 0.4, 0], [k - 0.4, q], [k + 0.4, q], [k + 0.4, 0]], "band"));
      plot.line(costs.map((v, r) => [r, 0.48 * v / top]), "thin");
      plot.line([[mean, 0], [mean, 0.5]], "target");
      plot.line([[best, 0], [best, 0.5]], "second");
      readout.textContent = `Reserve ${best} (thick line; the mean is ${mean}). Expected cost ` +
        `${two(cost(best))}; reserving the mean costs ${two(cost(mean))}. Thin line: the cost, scaled.`;
    }
    draw();
  };

  /* A Langevin chain on two modes: theta += (h / 2) d log p / d theta + sqrt(h T) noise. */
  bnnbook.figures.langevin = ({ axes, slider, readout, random }) => {
    const steps = 6000, cells = 48;
    const log = (x) => Math.log(0.6 * Math.exp(-((x + 1.2) ** 2) / 0.32) +
      0.4 * Math.exp(-((x - 1.2) ** 2) / 0.32)) - Math.log(0.4 * Math.sqrt(2 * Math.PI));
    const slope = (x) => (log(x + 1e-4) - log(x - 1e-4)) / 2e-4;
    const plot = axes({ x: [-3, 3], y: [0, 1.2], xlabel: "weight", ylabel: "density" });
    const size = slider({ label: "step size", min: -3, max: -0.3, step: 0.05, value: -1.5,
      map: (v) => 10 ** v, show: (v) => v.toPrecision(2) }, draw);
    const heat = slider({ label: "temperature", min: 0, max: 4, step: 0.1, value: 1, show: two }, draw);
    function draw() {
      const h = size(), T = heat(), { normal } = random(7), counts = new Array(cells).fill(0);
      let x = 0.6, left = 0, crossings = 0;
      for (let i = 0; i < steps; i++) {
        const before = x < 0;
        x += (h / 2) * slope(x) + Math.sqrt(h * T) * normal();
        if (!Number.isFinite(x)) break;
        x = Math.max(-50, Math.min(50, x));
        left += x < 0;
        crossings += before !== x < 0;
        const cell = Math.floor(((x + 3) / 6) * cells);
        if (cell >= 0 && cell < cells) counts[cell] += 1;
      }
      plot.clear();
      counts.forEach((n, i) => {
        const a = -3 + (6 * i) / cells, b = a + 6 / cells, y = (n / steps) * (cells / 6);
        if (n) plot.area([[a, 0], [a, y], [b, y], [b, 0]], "band");
      });
      plot.line(grid(-3, 3, 241).map((v) => [v, Math.exp(log(v))]), "target");
      readout.textContent = `Bars: ${steps.toLocaleString("en")} steps of one chain. Time in the left ` +
        `mode ${two(left / steps)}, where the posterior has .60; ${crossings} crossings.`;
    }
    draw();
  };
})();
