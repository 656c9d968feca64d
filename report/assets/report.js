// Tables that sort and filter, anchors inside closed details, and the image browser. Without
// JavaScript, the page lacks only the browser.
"use strict";

const at = (id) => document.getElementById(id);

// Anchors: open the closed details around them.

function openAround(hash) {
  const target = hash.length > 1 && at(decodeURIComponent(hash.slice(1)));
  if (!target) return;
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  target.scrollIntoView();
  if (target.tabIndex === -1) target.focus({ preventScroll: true });
}
addEventListener("hashchange", () => openAround(location.hash));
addEventListener("load", () => openAround(location.hash));

for (const table of document.querySelectorAll("table.sortable")) {
  const search = table.matches(".searchable");
  const grid = new DataTable(table, {
    paging: false, autoWidth: false, order: [],
    layout: { topStart: null, topEnd: search ? "search" : null, bottomStart: search ? "info" : null, bottomEnd: null },
    language: { search: "Search", info: "_TOTAL_ rows", infoFiltered: "of _MAX_", infoEmpty: "no rows", zeroRecords: "No row matches." },
  });
  if (!search) continue;
  const filters = table.closest("section").querySelector(".filters");
  filters.hidden = false;
  for (const select of filters.querySelectorAll("select")) {
    select.addEventListener("change", () => {
      grid.column(Number(select.dataset.column)).search(select.value, { exact: select.value !== "" }).draw();
    });
  }
}

const browser = document.querySelector(".browser");
const { images: IMAGES, parts: PARTS } = JSON.parse(at("browse-data").textContent);
const controls = Object.fromEntries(
  ["part", "sigma", "image", "left", "right", "split", "maps", "views", "status", "note", "before", "after", "stage",
    "previous", "next", "in", "out", "reset", "maps-label"].map((name) => [name, at(`browse-${name}`)]),
);

function fill(select, labels, wanted) {
  select.replaceChildren(...labels.map((label, index) => new Option(label, index)));
  select.value = String(Math.min(Math.max(wanted, 0), labels.length - 1));
}

const part = () => PARTS[controls.part.value];
const examples = () => part().sigmas[controls.sigma.value].examples;
const views = () => examples()[controls.image.value].views;
const hasMap = (view) => controls.maps.checked && view.map !== undefined;
const pictureOf = (view) => IMAGES[hasMap(view) ? view.map : view.image];

function described(view) {
  const words = [view.label];
  if (view.says) words.push(view.says);
  if (view.classes) words.push(`classes: ${view.classes.map(([name]) => name).join(", ")}`);
  if (view.top) words.push(`classified as ${view.top[0][0]}, ${percent(view.top[0][1])}`);
  return words.join("; ");
}

function legend(classes) {
  const list = document.createElement("ul");
  list.className = "legend";
  for (const [name, color] of classes) {
    const line = document.createElement("li");
    const swatch = document.createElement("span");
    swatch.style.background = color;
    line.append(swatch, name);
    list.append(line);
  }
  return list;
}

const percent = (share) => `${(100 * share).toFixed(share > 0.0995 ? 0 : 1)} %`;

function choosePart() {
  const sigmas = part().sigmas;
  fill(controls.sigma, sigmas.map((one) => one.sigma), sigmas.length - 2);
  controls["maps-label"].hidden = part().part !== "segmentation";
  controls.maps.checked = false;
  controls.note.textContent = part().note;
  controls.left.value = controls.right.value = "";
  chooseSigma(0);
  resetZoom();
}

function chooseSigma(image) {
  fill(controls.image, examples().map((one) => one.id), image);
  fillMethods(controls.left, ["noisy", views()[0].method]);
  fillMethods(controls.right, ["joint", "separate", "cbm3d", views().at(-1).method]);
  show();
}

// Keep the selected method, unless it failed at this sigma.
function fillMethods(select, wanted) {
  const found = [select.value, ...wanted].find((name) => views().some((view) => view.method === name));
  select.replaceChildren(...views().map((view) => new Option(view.label, view.method)));
  select.value = found;
}

function show() {
  const example = examples()[controls.image.value];
  for (const [side, image] of [["left", controls.before], ["right", controls.after]]) {
    const view = example.views.find((one) => one.method === controls[side].value);
    image.src = pictureOf(view);
    image.alt = described(view);
  }
  controls.views.replaceChildren(...example.views.map((view) => card(view, example.truth)));
  const count = `${Number(controls.image.value) + 1} of ${examples().length}`;
  controls.status.textContent = `${example.id}, ${count}${example.truth ? `, true class ${example.truth}` : ""}`;
}

function card(view, truth) {
  const item = document.createElement("li");
  const frame = document.createElement("div");
  const image = new Image();
  frame.className = "frame";
  image.src = pictureOf(view);
  image.alt = described(view);
  frame.append(image);
  const title = document.createElement("strong");
  title.textContent = view.label;
  item.append(frame, title, hasMap(view) ? legend(view.classes) : view.says);
  if (view.top) {
    const list = document.createElement("ol");
    for (const [name, share] of view.top) {
      const line = document.createElement("li");
      line.textContent = `${name}: ${percent(share)}`;
      if (name === truth) line.className = "truth";
      list.append(line);
    }
    item.append(list);
  }
  return item;
}

// Panzoom reads drags and zooms of the large image; CSS variables, in shares of the size of an image,
// apply them to all images of the browser. Without zoom, swipes scroll the page.
const zoom = Panzoom(controls.after, {
  canvas: true, minScale: 1, maxScale: 16, contain: "outside", panOnlyWhenZoomed: true, animate: false,
  handleStartEvent: (event) => { event.preventDefault(); controls.stage.focus({ preventScroll: true }); },
  setTransform: (image, { x, y, scale }) => {
    const shares = { scale, x: x / image.clientWidth || 0, y: y / image.clientHeight || 0 };
    for (const [name, value] of Object.entries(shares)) browser.style.setProperty(`--${name}`, value);
    zoom.setOptions(scale > 1 ? { touchAction: "none", cursor: "grab" } : { touchAction: "auto", cursor: "default" });
  },
});
const resetZoom = () => zoom.reset({ animate: false });
const zoomBy = (factor) => zoom.zoom(zoom.getScale() * factor);

const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

function moveByKey(event) {
  if (!(event.key in ARROWS) || event.altKey || event.ctrlKey || event.metaKey || zoom.getScale() === 1) return;
  event.preventDefault();
  const [x, y] = ARROWS[event.key].map((way) => (way * controls.stage.clientWidth) / 10 / zoom.getScale());
  zoom.pan(x, y, { relative: true });
}

function chooseImage() {
  show();
  resetZoom();
}

function move(percentage) {
  controls.stage.style.setProperty("--split", `${percentage}%`);
}

function step(by) {
  const count = examples().length;
  controls.image.value = String((Number(controls.image.value) + by + count) % count);
  chooseImage();
}

controls.part.addEventListener("change", choosePart);
controls.sigma.addEventListener("change", () => chooseSigma(Number(controls.image.value)));
controls.image.addEventListener("change", chooseImage);
for (const name of ["left", "right", "maps"]) controls[name].addEventListener("change", show);
controls.split.addEventListener("input", () => move(controls.split.value));
controls.previous.addEventListener("click", () => step(-1));
controls.next.addEventListener("click", () => step(1));
controls.in.addEventListener("click", () => zoomBy(1.6));
controls.out.addEventListener("click", () => zoomBy(1 / 1.6));
controls.reset.addEventListener("click", resetZoom);
controls.stage.addEventListener("wheel", (event) => { if (event.ctrlKey || event.shiftKey) zoom.zoomWithWheel(event); });
controls.stage.addEventListener("keydown", moveByKey);

if (PARTS.length) {
  browser.hidden = false;
  fill(controls.part, PARTS.map((one) => one.name[0].toUpperCase() + one.name.slice(1)), PARTS.length - 1);
  choosePart();
}
