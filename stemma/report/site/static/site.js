"use strict";

function sortBy(table, column, direction) {
  const button = table.tHead.rows[0].cells[column].querySelector("button");
  const numeric = button.dataset.kind === "number";
  const value = (row) => row.cells[column].dataset.sort;
  const order = numeric
    ? (a, b) => Number(value(a)) - Number(value(b))
    : (a, b) => value(a).localeCompare(value(b));
  const sign = direction === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].sort((a, b) => sign * order(a, b));
  table.tBodies[0].append(...rows);
  for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
  table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction);
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = head.querySelector("button");
    // The most claims that hold, first; texts and years from the start.
    const first = column > 3 ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    button.addEventListener("click", () => {
      sortBy(table, column, head.getAttribute("aria-sort") === first ? second : first);
    });
  });
}

function matches(row, wanted, scales) {
  const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.every((word) => row.dataset.text.includes(word))) return false;
  if (wanted.tag && !row.dataset.tags.split(" ").includes(wanted.tag)) return false;
  const chosen = wanted.scale ? [wanted.scale] : scales;
  const cells = [...row.cells].slice(-scales.length);
  const hasResult = (scale) => "result" in cells[scales.indexOf(scale)].dataset;
  if (wanted.scale && !hasResult(wanted.scale)) return false;
  const verdicts = chosen.flatMap((scale) => row.dataset[scale].split("|"));
  return !wanted.verdict || verdicts.includes(wanted.verdict);
}

function makeFilterable(form, table) {
  const scales = [...form.elements.scale.options].map((option) => option.value).filter(Boolean);
  const rows = [...table.tBodies[0].rows];
  const update = () => {
    const wanted = Object.fromEntries(new FormData(form));
    for (const row of rows) row.hidden = !matches(row, wanted, scales);
    const shown = rows.filter((row) => !row.hidden).length;
    document.getElementById("shown").value = `${shown} of ${rows.length} papers`;
  };
  form.hidden = false;
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  update();
}

// Whatever scrolls must be reachable by the keyboard.
function makeFocusable() {
  for (const box of document.querySelectorAll(".scroll, pre, .output_html")) {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

const table = document.getElementById("papers");
if (table) {
  makeSortable(table);
  makeFilterable(document.getElementById("filter"), table);
}
makeFocusable();
addEventListener("resize", makeFocusable);
addEventListener("toggle", makeFocusable, true);
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
