// Tooltips, filters and the theme. The page says all it has to say without them.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (name, text, className) => {
    const element = document.createElement(name);
    element.textContent = text;
    if (className) element.className = className;
    return element;
  };

  // The theme: the system's, until somebody says otherwise.
  const button = document.querySelector(".theme");
  const dark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const name = () => { button.textContent = dark() ? "Light theme" : "Dark theme"; };
  button.hidden = false;
  name();
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    name();
  });

  // What one follows a link to is opened.
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const inside = target.querySelector(":scope > details");
    for (let at = inside || target; at; at = at.parentElement) if (at.localName === "details") at.open = true;
    target.hidden = false;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  // On paper nobody can open anything, and nobody reads more than the pages.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all('.told li[data-mark="PAGE"] > details:not([open]), .layer:not([open])');
    closed.forEach((it) => { it.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((it) => { it.open = false; }));

  // Filters.
  const form = document.querySelector(".filters");
  if (form) {
    const items = all(".told > li");
    const matches = (item) => all("select", form).every((choice) =>
      !choice.value || (item.dataset[choice.name] === choice.value)
      || (choice.name === "receivers" && item.dataset.receivers.split(" ").includes(choice.value)));
    const apply = () => {
      items.forEach((item) => { item.hidden = !matches(item); });
      all(".day").forEach((day) => { day.hidden = !day.querySelector("li:not([hidden])"); });
      form.querySelector(".shown").textContent = `${items.filter((item) => !item.hidden).length} of ${items.length} shown`;
    };
    form.hidden = false;
    form.addEventListener("change", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    const open = form.querySelector("[data-open]");
    open.addEventListener("click", () => {
      const opening = open.textContent === "Open all";
      all(".told > li:not([hidden]) > details").forEach((it) => { it.open = opening; });
      open.textContent = opening ? "Close all" : "Open all";
    });
    apply();
  }

  // Tooltips: a cursor through all plots of an SLO, for mouse, touch and keyboard.
  const tip = make("div", "", "tip");
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  document.body.append(tip);
  const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ").replace(/:00$/, "");
  all(".keyboard").forEach((it) => { it.hidden = false; });

  // "1.2,1.3*4,," is one value, four times another, and a gap of two.
  const unpack = (packed) => packed.split(",").flatMap((run) => {
    const [value, times = 1] = run.split("*");
    return Array(Number(times)).fill(value);
  });

  all(".layer").forEach((layer) => {
    const numbers = layer.querySelector("script");
    if (!numbers) return;
    const data = JSON.parse(numbers.textContent);
    const areas = all(".plot .area", layer);
    data.plots.forEach((plot) => plot.lines.forEach((line) => { line[1] = unpack(line[1]); }));
    // Its own tooltip would lie over ours.
    areas.forEach((area) => { const title = area.querySelector("title"); area.setAttribute("aria-label", title.textContent); title.remove(); area.removeAttribute("aria-labelledby"); area.setAttribute("aria-describedby", area.querySelector("desc").id); });
    let at = data.count - 1, plot = 0, cursors = [];

    const when = () => {
      const from = data.start + at * data.step;
      return data.step > 60 ? `${clock(from)} to ${clock(from + data.step).slice(11)} UTC` : `${clock(from)} UTC`;
    };
    const gap = () => data.gaps.reduce((said, [from, words]) => (from <= at ? words : said), "");
    const value = (line, { unit, cap }) => {
      if (line[1][at] === "") return "no data";
      return cap && Number(line[1][at]) >= Number(cap[0]) ? cap[1] : Number(line[1][at]) + unit;
    };
    const lines = () => data.plots[plot].lines.map((line) => [line[0], value(line, data.plots[plot])]);
    const hide = () => {
      tip.hidden = true;
      cursors.forEach((it) => it.remove());
      cursors = [];
    };
    const show = (x, y) => {
      if (!cursors.length) {
        cursors = areas.map((area) => {
          const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
          line.setAttribute("class", "cursor");
          line.setAttribute("y1", "0");
          line.setAttribute("y2", "100%");
          area.append(line);
          return line;
        });
      }
      const place = `${(100 * (at + 0.5)) / data.count}%`;
      cursors.forEach((line) => { line.setAttribute("x1", place); line.setAttribute("x2", place); });
      tip.replaceChildren(make("div", `${data.plots[plot].title}, ${data.plots[plot].low ? "lowest" : "highest"}`), make("div", when()));
      lines().forEach(([label, said]) => {
        const row = make("div", "", "row");
        row.append(make("span", label), make("b", said));
        tip.append(row);
      });
      if (gap()) tip.append(make("div", `Not seen: ${gap()}`, "poor"));
      tip.hidden = false;
      const { width, height } = tip.getBoundingClientRect();
      tip.style.left = `${Math.max(4, x + 14 + width > innerWidth ? x - width - 14 : x + 14)}px`;
      tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - height - 4))}px`;
    };
    areas.forEach((area, number) => {
      const point = (event) => {
        const box = area.getBoundingClientRect();
        plot = number;
        at = Math.max(0, Math.min(data.count - 1, Math.floor(((event.clientX - box.left) / box.width) * data.count)));
        show(event.clientX, event.clientY);
      };
      area.addEventListener("pointermove", point);
      area.addEventListener("pointerdown", point);
      area.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
    });
    document.addEventListener("pointerdown", (event) => { if (!layer.contains(event.target)) hide(); });

    const reader = make("div", "Read the plots: arrow keys, Page Up and Down, Home, End; Escape to leave", "reader");
    reader.tabIndex = 0;
    reader.setAttribute("role", "slider");
    reader.setAttribute("aria-label", `Values of ${layer.querySelector("h3").textContent}`);
    reader.setAttribute("aria-valuemin", "0");
    reader.setAttribute("aria-valuemax", String(data.count - 1));
    const say = () => {
      reader.setAttribute("aria-valuenow", String(at));
      const said = lines().map(([label, value]) => `${label} ${value}`).join(", ");
      reader.setAttribute("aria-valuetext", `${data.plots[plot].title}, ${when()}: ${said}${gap() ? `; not seen: ${gap()}` : ""}`);
    };
    const showHere = () => {
      areas[plot].scrollIntoView({ block: "nearest", behavior: "instant" });
      const box = areas[plot].getBoundingClientRect();
      show(box.left + (box.width * (at + 0.5)) / data.count, box.top + 10);
      say();
    };
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -24, PageDown: 24, Home: -Infinity, End: Infinity };
    reader.addEventListener("keydown", (event) => {
      if (event.key in steps) at = Math.max(0, Math.min(data.count - 1, at + steps[event.key]));
      else if (event.key === "ArrowUp") plot = (plot + areas.length - 1) % areas.length;
      else if (event.key === "ArrowDown") plot = (plot + 1) % areas.length;
      else if (event.key === "Escape") return hide();
      else return undefined;
      event.preventDefault();
      return showHere();
    });
    reader.addEventListener("focus", showHere);
    reader.addEventListener("blur", hide);
    say();
    layer.querySelector(".plots").prepend(reader);
  });
  addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
})();
