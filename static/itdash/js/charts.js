/* Plotly takes over the server's drawing once it comes near the viewport, in the same box. What to draw stands beside it;
   colours are names of tokens there, so they are looked up again when the theme changes. Nothing here needs the content
   policy's leave: plotly.css is what Plotly would inject for all charts, and the mark says that its maps' rules are there. */
const NEAR = "300px", MAPS = "9f215cf04c5486422605d13261cb87401f4e7763b6296af81e98efbc0130da53";
let loading;

const added = (name, values) => new Promise((done, failed) => {
  const element = Object.assign(document.createElement(name), values);
  element.onload = done;
  element.onerror = failed;
  document.head.append(element);
});
const load = ({ plotly, plotlyCss }) => loading ||= (async () => {
  document.head.append(Object.assign(document.createElement("meta"), { id: MAPS }));
  await added("link", { rel: "stylesheet", id: "plotly.js-style-global", className: "no-inline-styles", href: plotlyCss });
  await added("script", { src: plotly });
  return window.Plotly;
})();

const probe = document.createElement("i");
const ink = token => { probe.style.color = `var(--${token})`; return getComputedStyle(probe).color; };

const coloured = ({ data, layout }) => {
  const quiet = ink("text-3"), font = { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink("text-2") };
  const axis = { gridcolor: ink("line"), linecolor: ink("line"), tickfont: font };
  return [
    data.map(trace => {
      const color = ink(trace.meta?.ink || "text-3"), part = trace.mode === "markers" ? "marker" : "line";
      return { ...trace, [part]: { ...trace[part], color } };
    }),
    { ...layout, font, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      hoverlabel: { bgcolor: ink("bg-raised"), bordercolor: ink("line-strong"), font: { ...font, color: ink("text") } },
      xaxis: { ...layout.xaxis, ...axis }, yaxis: { ...layout.yaxis, ...axis },
      shapes: (layout.shapes || []).map(shape => ({ ...shape, line: { ...shape.line, color: shape.name ? ink(shape.name) : quiet } })),
      annotations: (layout.annotations || []).map(note => ({ ...note, font: { ...font, color: note.name ? ink(note.name) : quiet } })) },
  ];
};

export default figure => {
  const box = figure.querySelector(".plot"), wanted = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
  let drawn = false;
  const draw = async () => {
    const plotly = await load(figure.dataset);
    if (!probe.isConnected) { probe.hidden = true; document.body.append(probe); }
    if (!drawn) box.replaceChildren();
    drawn = true;
    await plotly.react(box, ...coloured(wanted), { displayModeBar: false, responsive: true });
    box.querySelectorAll("svg").forEach(svg => svg.setAttribute("aria-hidden", "true"));
    figure.dataset.drawn = "";
  };
  const again = () => { if (drawn) draw(); };
  const seen = new IntersectionObserver(entries => {
    if (!entries.some(entry => entry.isIntersecting)) return;
    seen.disconnect();
    draw().catch(() => {}); // without Plotly the server's drawing stays
  }, { rootMargin: NEAR });
  seen.observe(figure);
  document.addEventListener("themechange", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
};
