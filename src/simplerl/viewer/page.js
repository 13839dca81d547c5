// The page's own script: links change the view without loading the page anew, the address follows the view, and keys
// move through the problems. It handles addresses that Python made; text of models never comes here.
const go = (query) => trigger("click", { query: query });
const plain = (event) => !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button);

document.addEventListener("click", (event) => {
  const link = event.target.closest && event.target.closest("a[data-go]");
  if (!link || !plain(event)) return;
  event.preventDefault();
  go(link.getAttribute("href").slice(1));
});

window.addEventListener("popstate", () => go(location.search.slice(1)));

watch("value", () => {
  const query = "?" + props.value;
  if (query === location.search) return;
  const first = !history.state || !history.state.shown;
  history[first ? "replaceState" : "pushState"]({ shown: true }, "", query);
});

document.addEventListener("keydown", (event) => {
  const busy = event.target.closest && event.target.closest(
    "input:not([type=radio]), textarea, select, [contenteditable]");
  if (busy || !plain(event)) return;
  const press = (selector) => { const found = document.querySelector(selector); if (found) found.click(); };
  if (event.key === "j" || event.key === "ArrowRight") press("#body a.next");
  else if (event.key === "k" || event.key === "ArrowLeft") press("#body a.previous");
  else if (event.key === "Escape") press("#body a.back");
  else if (event.key === "/") {
    const search = document.querySelector("#search input, #search textarea");
    if (search) { event.preventDefault(); search.focus(); }
  }
});
