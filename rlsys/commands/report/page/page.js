"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const number = (value, digits = 4) => value == null ? "–"
    : value !== 0 && Math.abs(value) < 1e-3 ? Number(value.toPrecision(digits)).toExponential()
    : value.toLocaleString("en", { maximumSignificantDigits: digits });

  /* Curves: uPlot draws them; colours are asked for at each drawing, so that they follow the scheme. */
  const plots = [];
  const range = (_, low, high) => low == null ? [0, 1] : low === high ? [low - (Math.abs(low) / 10 || 1), high + (Math.abs(high) / 10 || 1)]
    : uPlot.rangeNum(low, high, 0.1, true);
  for (const holder of document.querySelectorAll("[data-chart]")) {
    const chart = data.charts[Number(holder.dataset.chart)];
    const axis = { stroke: () => colour("--faint"), grid: { stroke: () => colour("--line"), width: 1 },
      ticks: { stroke: () => colour("--line") }, font: "11px system-ui, sans-serif" };
    const values = (_, ticks) => ticks.map((tick) => tick == null ? "" : number(tick, 6));
    const series = chart.series.map(([label], index) => ({
      label, spanGaps: true, stroke: () => colour(`--c${index % 6}`), width: 1.6, dash: index < 6 ? undefined : [6, 3],
      value: (_, value) => number(value), points: { size: 4 },
    }));
    const width = () => Math.max(holder.clientWidth, 120);
    const plot = new uPlot({
      width: width(), height: 190, scales: { x: { time: false }, y: { range } }, cursor: { sync: { key: "step" }, drag: { x: true, y: false } },
      axes: [{ ...axis, size: 30 }, { ...axis, size: 58, values }],
      series: [{ label: "step", value: (_, value) => number(value) }, ...series],
    }, [chart.steps, ...chart.series.map(([, own]) => own)], holder);
    plots.push([plot, width]);
  }
  addEventListener("resize", () => plots.forEach(([plot, width]) => plot.setSize({ width: width(), height: 190 })));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(([plot]) => plot.redraw()));

  /* The browser of samples. What models wrote goes in as text, never as HTML. */
  const browser = document.getElementById("browser");
  if (!browser) return;
  const asked = (name) => document.getElementById(`by-${name}`);
  const found = document.getElementById("found"), told = document.getElementById("told"), more = document.getElementById("more");
  const names = ["stage", "phase", "step"];
  const PAGE = 20;
  let shown = PAGE;
  const element = (tag, text, kind) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  for (const name of names) {
    const values = [...new Set(data.samples.map((sample) => sample[name]))];
    if (name === "step") values.sort((one, other) => one - other);
    for (const value of values) asked(name).append(new Option(`${name} ${value}`, value));
    if (values.length < 2) asked(name).hidden = true;
  }
  const orders = {
    recorded: null,
    best: (one, other) => other.reward - one.reward,
    worst: (one, other) => one.reward - other.reward,
    advantage: (one, other) => Math.abs(other.advantage) - Math.abs(one.advantage),
    longest: (one, other) => other.tokens - one.tokens,
  };
  const card = (sample) => {
    const made = element("div", undefined, "sample");
    const reward = sample.reward == null ? `no reward: ${sample.abstention ?? "it was not scored"}` : `reward ${number(sample.reward)}`;
    const advantage = sample.advantage == null ? "" : `, advantage ${number(sample.advantage)}`;
    made.append(element("h4", `${reward}${advantage}`));
    made.append(element("div", `${sample.id} · ${sample.stage} · ${sample.phase}, step ${sample.step} · ${sample.tokens} tokens, ended by ${sample.ended}${sample.parts ? ` · ${sample.parts}` : ""}`, "label"));
    const texts = [["prompt", sample.prompt], ["known answer", sample.answer], ["response", sample.response]];
    for (const [label, text] of texts) if (text != null) made.append(element("div", label, "label"), element("pre", text));
    return made;
  };
  const look = () => {
    const text = asked("text").value.toLowerCase(), order = asked("order").value;
    const measure = { best: "reward", worst: "reward", advantage: "advantage" }[order];
    const kept = data.samples.filter((sample) =>
      names.every((name) => asked(name).value === "" || String(sample[name]) === asked(name).value)
      && (measure === undefined || sample[measure] != null)
      && (text === "" || `${sample.id}\n${sample.prompt}\n${sample.response}`.toLowerCase().includes(text)));
    if (orders[order]) kept.sort(orders[order]);
    found.replaceChildren(...kept.slice(0, shown).map(card));
    told.textContent = `${Math.min(shown, kept.length).toLocaleString("en")} shown of ${kept.length.toLocaleString("en")} that match`;
    more.hidden = kept.length <= shown;
  };
  for (const name of ["text", "order", ...names]) asked(name).addEventListener("input", () => { shown = PAGE; look(); });
  more.addEventListener("click", () => { shown += PAGE; look(); });
  look();
})();
