// Curves over time, drawn as SVG paths that the style sheet colours.

const SVG = "http://www.w3.org/2000/svg";

function paths(svg, classes) {
  while (svg.childElementCount < classes.length) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", classes[svg.childElementCount]);
    svg.append(path);
  }
  return [...svg.children];
}

function line(values, length, top, height) {
  const start = length - values.length;
  return values.map((value, index) => {
    const y = height - (top ? value / top : 0) * (height - 2) - 1;
    return `${index ? "L" : "M"}${start + index} ${y.toFixed(2)}`;
  }).join("");
}

/** The next number of the form 1, 2 or 5 times a power of ten. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].find((step) => step * power >= value) * power;
}

/** Both directions in one picture; returns what the top of the picture stands for. */
export function drawThroughput(svg, down, up, length) {
  const top = ceiling(Math.max(1000, ...down, ...up));
  svg.setAttribute("viewBox", `0 0 ${length - 1} 100`);
  const [area, downLine, upLine] = paths(svg, ["area down", "down", "up"]);
  const first = length - down.length;
  const curve = line(down, length, top, 100);
  area.setAttribute("d", down.length > 1 ? `${curve}L${length - 1} 100L${first} 100Z` : "");
  downLine.setAttribute("d", curve);
  upLine.setAttribute("d", line(up, length, top, 100));
  return top;
}

/** One small curve without a scale. */
export function drawSpark(svg, values, length) {
  svg.setAttribute("viewBox", `0 0 ${length - 1} 20`);
  svg.setAttribute("preserveAspectRatio", "none");
  paths(svg, [""])[0].setAttribute("d", values.length > 1 ? line(values, length, Math.max(...values), 20) : "");
}

/** The last `length` values. */
export class History {
  constructor(length) {
    this.length = length;
    this.values = [];
  }

  push(value) {
    this.values.push(value);
    if (this.values.length > this.length) this.values.shift();
  }
}
