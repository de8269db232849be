// The table of sessions: only the rows in sight exist, and a cell is written only when its text has changed.
// While the pointer moves over the rows their order rests, so that nobody closes a session that has just moved there.

import * as format from "./format.js";

const COLUMNS = [
  { name: "id", title: "Id", width: "5.5%", number: true, text: (s) => String(s.id), key: (s) => s.id },
  { name: "client", title: "Client", width: "13.5%", mono: true, text: (s) => s.client, key: (s) => s.client },
  { name: "user", title: "User", width: "8%", text: (s) => s.user, key: (s) => s.user },
  { name: "target", title: "Target", width: "20%", mono: true, text: (s) => s.target || `(${s.state})`, key: (s) => s.target },
  { name: "chain", title: "Chain", width: "15%", mono: true, faint: true, text: (s) => s.chain || "direct", key: (s) => s.chain },
  { name: "frontend", title: "Frontend", width: "8%", faint: true, text: (s) => s.frontend, key: (s) => s.frontend },
  // Clients are numbered as they come: that is an exact order of age, which the moment an event arrives at is not.
  { name: "age", title: "Age", width: "7.5%", number: true, text: (s, now) => format.duration((now - s.opened) / 1000), key: (s) => -s.id },
  { name: "up", title: "Up", width: "7%", number: true, text: (s) => format.bytes(s.up), key: (s) => s.up },
  { name: "down", title: "Down", width: "7%", number: true, text: (s) => format.bytes(s.down), key: (s) => s.down },
  { name: "rate", title: "Rate", width: "8.5%", number: true, text: (s) => format.rate(s.rate), key: (s) => s.rate },
];

const HOLD_MS = 2500;

export class Table {
  /** `close(session)` is called for the row whose session is to be closed. */
  constructor({ scroller, columns, rows, close }) {
    Object.assign(this, { scroller, rows, close, shown: [], selected: null, lines: [], heldUntil: 0 });
    this.sort = { column: COLUMNS[6], ascending: true };
    this.makeHead(columns);
    this.above = this.makeSpacer();
    this.below = this.makeSpacer();
    this.rows.append(this.above, this.below);
    scroller.addEventListener("scroll", () => this.render(), { passive: true });
    new ResizeObserver(() => this.render()).observe(scroller);
    rows.addEventListener("keydown", (event) => this.key(event));
    for (const name of ["pointermove", "pointerdown"]) {
      rows.addEventListener(name, () => { this.heldUntil = Date.now() + HOLD_MS; }, { passive: true });
    }
    rows.addEventListener("pointerleave", () => { this.heldUntil = 0; });
  }

  makeHead(columns) {
    this.heads = COLUMNS.map((column) => {
      const head = document.createElement("th");
      head.setAttribute("role", "columnheader");
      head.scope = "col";
      head.style.width = column.width;
      head.className = column.number ? "number" : "";
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = column.title;
      button.addEventListener("click", () => {
        const again = this.sort.column === column;
        this.sort = { column, ascending: again ? !this.sort.ascending : !column.number || column.name === "age" };
        this.update(this.shown, true);
      });
      head.append(button);
      columns.append(head);
      return head;
    });
    const last = document.createElement("th");
    last.setAttribute("role", "columnheader");
    last.style.width = "44px";
    const label = document.createElement("span");
    label.className = "hidden";
    label.textContent = "Close";
    last.append(label);
    columns.append(last);
  }

  makeSpacer() {
    const spacer = document.createElement("tr");
    spacer.className = "spacer";
    spacer.setAttribute("aria-hidden", "true");
    spacer.append(document.createElement("td"));
    spacer.firstChild.colSpan = COLUMNS.length + 1;
    return spacer;
  }

  makeLine() {
    const row = document.createElement("tr");
    row.setAttribute("role", "row");
    const line = { row, session: null, cells: [] };
    for (const column of COLUMNS) {
      const cell = document.createElement("td");
      cell.setAttribute("role", "gridcell");
      cell.className = [`c-${column.name}`, column.number && "number", column.mono && "mono", column.faint && "faint"].filter(Boolean).join(" ");
      cell.append("");
      line.cells.push({ cell, node: cell.firstChild, text: "" });
      row.append(cell);
    }
    const cell = document.createElement("td");
    cell.setAttribute("role", "gridcell");
    cell.className = "c-close";
    line.button = document.createElement("button");
    line.button.type = "button";
    line.button.tabIndex = -1; // the Delete key does it, wherever the row has moved to
    line.button.textContent = "×";
    line.button.addEventListener("click", () => this.close(line.session));
    cell.append(line.button);
    row.append(cell);
    row.addEventListener("click", (event) => event.target === line.button || this.select(line.session, false));
    row.addEventListener("focus", () => this.select(line.session, false));
    return line;
  }

  /** Show these sessions in the order that was chosen; later, if the order rests and need not change `now`. */
  update(sessions, now = false) {
    if (!now && Date.now() < this.heldUntil && this.shown.length) {
      this.render();
      return;
    }
    const { column, ascending } = this.sort;
    const sign = ascending ? 1 : -1;
    this.shown = sessions.map((session) => [column.key(session), session])
      .sort(([a, x], [b, y]) => (a < b ? -sign : a > b ? sign : y.id - x.id))
      .map(([, session]) => session);
    COLUMNS.forEach((each, index) => {
      if (each === column) this.heads[index].setAttribute("aria-sort", ascending ? "ascending" : "descending");
      else this.heads[index].removeAttribute("aria-sort");
    });
    this.scroller.firstElementChild.setAttribute("aria-rowcount", String(this.shown.length + 1));
    this.render();
  }

  rowHeight() {
    return parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));
  }

  render() {
    const height = this.rowHeight();
    const room = Math.ceil(this.scroller.clientHeight / height) + 8;
    const first = Math.max(0, Math.min(Math.floor(this.scroller.scrollTop / height) - 4, this.shown.length - room));
    const visible = this.shown.slice(first, first + room);
    while (this.lines.length < visible.length) {
      const line = this.makeLine();
      this.lines.push(line);
      this.below.before(line.row);
    }
    while (this.lines.length > visible.length) this.lines.pop().row.remove();
    this.above.firstChild.style.height = `${first * height}px`;
    this.below.firstChild.style.height = `${(this.shown.length - first - visible.length) * height}px`;
    const now = Date.now();
    const focused = this.lines.some((line) => line.row === document.activeElement);
    visible.forEach((session, index) => this.fill(this.lines[index], session, first + index, now));
    const chosen = this.lines.find((line) => line.session.id === this.selected);
    if (focused && chosen && chosen.row !== document.activeElement) chosen.row.focus({ preventScroll: true });
    if (this.lines.length && !this.lines.some((line) => line.row.tabIndex === 0)) this.lines[0].row.tabIndex = 0;
  }

  fill(line, session, index, now) {
    line.cells.forEach((entry, column) => {
      const text = COLUMNS[column].text(session, now);
      if (text === entry.text) return;
      entry.text = entry.node.data = text;
      if (!COLUMNS[column].number) entry.cell.title = text;
    });
    if (line.session !== session) {
      line.session = session;
      line.button.setAttribute("aria-label", `Close session ${session.id}`);
    }
    line.row.setAttribute("aria-rowindex", String(index + 2));
    const selected = session.id === this.selected;
    line.row.classList.toggle("selected", selected);
    line.row.classList.toggle("gone", session.gone === true);
    line.row.setAttribute("aria-selected", String(selected));
    line.row.tabIndex = selected ? 0 : -1;
  }

  select(session, focus = true) {
    if (this.selected === session.id && !focus) return;
    this.selected = session.id;
    this.render();
    if (focus) this.lines.find((line) => line.session === session)?.row.focus({ preventScroll: true });
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / this.rowHeight()) - 2);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    const at = this.shown.findIndex((session) => session.id === this.selected);
    if (step && this.shown.length) {
      event.preventDefault();
      this.reveal(Math.max(0, Math.min(this.shown.length - 1, at + step)));
    } else if ((event.key === "Delete" || event.key === "Backspace") && at >= 0) {
      event.preventDefault();
      const session = this.shown[at];
      const next = this.shown[at + 1] ?? this.shown[at - 1];
      if (next) this.select(next);
      this.close(session);
    }
  }

  reveal(index) {
    const height = this.rowHeight();
    const head = this.scroller.querySelector("thead").offsetHeight;
    const top = index * height;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    const overhang = top + height + head - this.scroller.scrollTop - this.scroller.clientHeight;
    if (overhang > 0) this.scroller.scrollTop += overhang;
    this.select(this.shown[index]);
  }
}
