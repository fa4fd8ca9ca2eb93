/* A grid to walk: arrows move over tests and runs, Enter opens the result, c the column's commit.
   One cell of the table is in the tab order; the line below says what is under the cursor. */
const STEP = 12, SVG = "http://www.w3.org/2000/svg";

export default grid => {
  const rows = [...grid.querySelectorAll(".cells")], columns = [...grid.querySelectorAll("[data-columns] > li")];
  const dock = grid.querySelector("[data-dock]");
  if (!rows.length || !dock) return;
  const part = Object.fromEntries([...dock.querySelectorAll("[data-of]")].map(element => [element.dataset.of, element]));
  const words = [...dock.querySelectorAll("[data-word]")];
  const cursor = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries({ class: "cursor", y: -1, width: STEP, height: 16 })) cursor.setAttribute(name, value);
  let row = 0, column = columns.length - 1;

  const place = (number, most) => Math.max(0, Math.min(most - 1, number));
  const name = () => rows[row].parentElement.querySelector("a");
  const result = () => `${columns[column].querySelector("a").getAttribute("href")}?show=all&q=${encodeURIComponent(name().textContent.slice(0, 200))}`;
  const go = (toRow, toColumn, focus) => {
    rows[row].tabIndex = -1;
    rows[row].parentElement.classList.remove("on");
    row = place(toRow, rows.length);
    column = place(toColumn, columns.length);
    const cell = rows[row], mark = cell.dataset.r[column], run = columns[column].textContent.replace(/\s+/g, " ").trim();
    cursor.setAttribute("x", column * STEP - 1);
    cell.querySelector("svg").append(cursor);
    cell.tabIndex = 0;
    cell.parentElement.classList.add("on");
    words.forEach(word => { word.hidden = word.dataset.word !== mark; });
    part.test.textContent = name().textContent;
    part.run.textContent = run;
    part.link.href = result();
    const said = words.find(word => !word.hidden);
    cell.setAttribute("aria-label", `${said ? said.textContent.trim() : ""} in ${run}`);
    if (!focus) return;
    cell.focus({ preventScroll: true });
    cell.parentElement.scrollIntoView({ block: "nearest" });
    const box = grid.querySelector(".scroll"), left = cursor.getBoundingClientRect().left - box.getBoundingClientRect().left;
    if (left < 200 || left > box.clientWidth - 40) box.scrollLeft += left - box.clientWidth / 2;
  };
  const openCommit = () => {
    const commit = columns[column].querySelector("code")?.textContent;
    location.href = commit ? `${grid.dataset.runs}?q=${commit}` : columns[column].querySelector("a").href;
  };

  grid.addEventListener("keydown", event => {
    if (!event.target.closest(".cells") || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = {
      ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
      Home: [row, 0], End: [row, columns.length - 1], PageUp: [row - 10, column], PageDown: [row + 10, column],
    };
    if (event.key in moves) { event.preventDefault(); go(...moves[event.key], true); }
    if (event.key === "Enter") location.href = result();
    if (event.key === "c" && document.documentElement.dataset.shortcuts !== "off") openCommit();
  });
  const under = event => {
    const cell = event.target.closest(".cells");
    if (!cell) return false;
    go(rows.indexOf(cell), Math.floor((event.clientX - cell.querySelector("svg").getBoundingClientRect().left) / STEP));
    return true;
  };
  grid.addEventListener("pointermove", under);
  grid.addEventListener("click", event => { if (under(event)) location.href = result(); });
  dock.hidden = false;
  go(0, column);
};
