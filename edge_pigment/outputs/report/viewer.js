"use strict";
// Three planes through one map. Radiological: the patient's right is on the left of axial and coronal pictures.
(function () {
  const data = JSON.parse(document.getElementById("volumes").textContent);
  const [nx, ny, nz] = data.shape, size = data.size;
  const at = data.start.slice();
  const cuts = {
    axial: { axis: 2, across: 0, up: 1, edges: ["R", "L", "A", "P"] },
    coronal: { axis: 1, across: 0, up: 2, edges: ["R", "L", "S", "I"] },
    sagittal: { axis: 0, across: 1, up: 2, edges: ["A", "P", "S", "I"] },
  };
  // only planes in which the scan shows something; positions are texts, the same as on the sheet
  const planes = data.planes.map((plane) => ({ ...plane, ...cuts[plane.name] }));
  let current = 0, active = 0, lines = true, base = null;

  const tables = {};
  for (const [name, hex] of Object.entries(data.tables))
    tables[name] = Uint8Array.from(hex.match(/../g), (h) => parseInt(h, 16));

  function load(map) {
    return new Promise((done) => {
      const image = new Image();
      image.onload = () => {
        const canvas = document.createElement("canvas");
        canvas.width = nx; canvas.height = ny * nz;
        const g = canvas.getContext("2d", { willReadFrequently: true });
        g.drawImage(image, 0, 0);
        const rgba = g.getImageData(0, 0, nx, ny * nz).data;
        const channels = map.rgb ? 3 : 1;
        map.voxels = new Uint8Array(nx * ny * nz * channels);
        for (let i = 0; i < nx * ny * nz; i++)
          for (let c = 0; c < channels; c++) map.voxels[i * channels + c] = rgba[4 * i + c];
        done();
      };
      image.src = map.png;
    });
  }
  const index = (p) => p[0] + nx * (p[1] + ny * p[2]);

  function colour(map, i, out, o) {
    if (map.rgb) { for (let c = 0; c < 3; c++) out[o + c] = map.voxels[3 * i + c]; return; }
    const v = map.voxels[i];
    let shown = map, level = v;
    if (map.key === "novelty" && base && v) {
      // overlay: anatomy in grey, colour only where novel
      const novelty = map.low + (v - 1) / 254 * (map.high - map.low);
      if (novelty < data.novel) { shown = base; level = base.voxels[i]; }
    }
    const table = tables[shown.table], k = level ? Math.round((level - 1) * 255 / 254) : 0;
    for (let c = 0; c < 3; c++) out[o + c] = v ? table[3 * k + c] : 0;
  }

  function draw(plane) {
    const w = data.shape[plane.across], h = data.shape[plane.up], map = data.maps[current];
    const small = document.createElement("canvas");
    small.width = w; small.height = h;
    const g = small.getContext("2d"), pixels = g.createImageData(w, h), p = at.slice();
    for (let r = 0; r < h; r++)
      for (let c = 0; c < w; c++) {
        p[plane.across] = w - 1 - c; p[plane.up] = h - 1 - r;
        const o = 4 * (r * w + c);
        colour(map, index(p), pixels.data, o);
        pixels.data[o + 3] = 255;
      }
    g.putImageData(pixels, 0, 0);
    const canvas = plane.canvas, ctx = canvas.getContext("2d");
    const mmW = w * size[plane.across], mmH = h * size[plane.up];
    const zoom = Math.min(canvas.width / mmW, canvas.height / mmH);
    plane.w = mmW * zoom; plane.h = mmH * zoom;
    plane.x = (canvas.width - plane.w) / 2; plane.y = (canvas.height - plane.h) / 2;
    ctx.fillStyle = "#000"; ctx.fillRect(0, 0, canvas.width, canvas.height);
    ctx.imageSmoothingEnabled = true; ctx.imageSmoothingQuality = "high";
    ctx.drawImage(small, plane.x, plane.y, plane.w, plane.h);
    if (lines) {
      const cx = plane.x + (w - at[plane.across] - 0.5) / w * plane.w;
      const cy = plane.y + (h - at[plane.up] - 0.5) / h * plane.h;
      ctx.strokeStyle = "rgba(255,255,255,.35)"; ctx.lineWidth = 1;
      ctx.beginPath();
      ctx.moveTo(cx, 0); ctx.lineTo(cx, canvas.height); ctx.moveTo(0, cy); ctx.lineTo(canvas.width, cy);
      ctx.stroke();
    }
    ctx.font = "bold 20px sans-serif"; ctx.fillStyle = "#fff"; ctx.textBaseline = "middle";
    ctx.shadowColor = "#000"; ctx.shadowBlur = 4;
    const [l, r, t, b] = plane.edges;
    ctx.textAlign = "left"; ctx.fillText(l, 6, canvas.height / 2);
    ctx.textAlign = "right"; ctx.fillText(r, canvas.width - 6, canvas.height / 2);
    ctx.textAlign = "center"; ctx.fillText(t, canvas.width / 2, 14); ctx.fillText(b, canvas.width / 2, canvas.height - 12);
    ctx.shadowBlur = 0;
    const i = at[plane.axis];
    plane.caption.textContent = `${plane.title}  ${plane.positions[i]}  (${i + 1} / ${data.shape[plane.axis]})`;
    plane.slider.value = at[plane.axis];
    plane.figure.classList.toggle("active", planes[active] === plane);
  }

  function readout() {
    const i = index(at);
    const parts = data.maps.filter((m) => !m.rgb).map((m) => {
      const v = m.voxels[i];
      return `${m.label} ${v ? (m.low + (v - 1) / 254 * (m.high - m.low)).toFixed(2) : "–"}`;
    });
    document.getElementById("readout").textContent = "At the cross: " + parts.join("  ·  ");
  }

  function key(map) {
    const canvas = document.getElementById("key"), ctx = canvas.getContext("2d");
    const legend = document.getElementById("legend");
    document.getElementById("note").textContent = map.note + ".";
    canvas.style.display = map.rgb ? "none" : "";
    if (map.rgb) {
      legend.innerHTML = '<b class="r">red</b> left–right, <b class="g">green</b> front–back, <b class="b">blue</b> head–foot';
      return;
    }
    for (let x = 0; x < canvas.width; x++) {
      const k = Math.round(x / (canvas.width - 1) * 255), t = tables[map.table];
      ctx.fillStyle = `rgb(${t[3 * k]},${t[3 * k + 1]},${t[3 * k + 2]})`;
      ctx.fillRect(x, 0, 1, canvas.height);
    }
    legend.textContent = `${map.low} to ${map.high} ${map.unit}`
      + (map.key === "novelty" ? ` (in colour above ${data.novel.toFixed(1)}; grey: FA)` : "");
  }

  function show() { planes.forEach(draw); readout(); }
  function choose(n) {
    if (n < 0 || n >= data.maps.length) return;
    current = n;
    document.querySelectorAll("#maps button").forEach((b, i) => b.setAttribute("aria-pressed", i === n));
    key(data.maps[n]); show();
  }
  function step(plane, by) {
    at[plane.axis] = Math.max(0, Math.min(data.shape[plane.axis] - 1, at[plane.axis] + by));
    show();
  }

  planes.forEach((plane, n) => {
    plane.figure = document.getElementById(plane.name);
    plane.canvas = plane.figure.querySelector("canvas");
    plane.caption = plane.figure.querySelector("figcaption");
    plane.slider = plane.figure.querySelector("input");
    plane.slider.max = data.shape[plane.axis] - 1;
    plane.slider.addEventListener("input", () => { active = n; at[plane.axis] = +plane.slider.value; show(); });
    plane.canvas.addEventListener("wheel", (e) => { e.preventDefault(); active = n; step(plane, e.deltaY < 0 ? 1 : -1); }, { passive: false });
    plane.canvas.addEventListener("click", (e) => {
      active = n;
      const box = plane.canvas.getBoundingClientRect(), k = plane.canvas.width / box.width;
      const fx = ((e.clientX - box.left) * k - plane.x) / plane.w, fy = ((e.clientY - box.top) * k - plane.y) / plane.h;
      if (fx >= 0 && fx < 1 && fy >= 0 && fy < 1) {
        at[plane.across] = data.shape[plane.across] - 1 - Math.floor(fx * data.shape[plane.across]);
        at[plane.up] = data.shape[plane.up] - 1 - Math.floor(fy * data.shape[plane.up]);
      }
      show();
    });
  });
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const by = e.shiftKey ? 5 : 1;
    if (e.key === "ArrowUp" || e.key === "PageUp") step(planes[active], by);
    else if (e.key === "ArrowDown" || e.key === "PageDown") step(planes[active], -by);
    else if (e.key === "ArrowRight") { active = (active + 1) % planes.length; show(); }
    else if (e.key === "ArrowLeft") { active = (active + planes.length - 1) % planes.length; show(); }
    else if (e.key >= "1" && e.key <= "9") choose(+e.key - 1);
    else if (e.key === "c") { lines = !lines; show(); }
    else return;
    e.preventDefault();
  });
  const list = document.getElementById("maps");
  data.maps.forEach((map, n) => {
    const button = document.createElement("button");
    button.textContent = `${n + 1} ${map.label}`;
    button.title = map.note;
    button.addEventListener("click", () => choose(n));
    list.appendChild(button);
  });
  document.querySelectorAll("[data-goto]").forEach((link) => link.addEventListener("click", (e) => {
    e.preventDefault();
    link.dataset.goto.split(",").forEach((i, axis) => { at[axis] = Math.max(0, Math.min(data.shape[axis] - 1, +i)); });
    choose(data.maps.findIndex((m) => m.key === link.dataset.map));
    document.getElementById("viewer").scrollIntoView();
  }));
  Promise.all(data.maps.map(load)).then(() => {
    base = data.maps.find((m) => m.key === "FA") || null;
    choose(0);
    document.body.dataset.ready = "yes";
  });
})();
