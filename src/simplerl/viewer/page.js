// The page's own script: the address says the view in full, a changed control shows the view anew, keys move through the
// problems, and a run that trains is followed. It handles addresses that Python made; text of models never comes here.
const form = () => document.getElementById("controls");
const named = (name) => [...form().querySelectorAll(`[name=${name}]`)];
let stamp = document.body.dataset.stamp, changed = false;
history.replaceState(null, "", "?" + document.body.dataset.query);

document.addEventListener("change", (event) => {
  const name = event.target.name;
  if (name === "benchmark") [...named("levels"), ...named("kinds")].forEach((box) => { box.checked = false; });
  if (name === "runs") {  // Sides that show none of them follow the choice.
    const chosen = named("runs").filter((box) => box.checked).map((box) => box.value);
    for (const side of ["a", "b"]) {
      const [run] = named(side);
      if (chosen.length && !chosen.includes(run.value)) [run, ...named(side + "_step")].forEach((box) => { box.value = ""; });
    }
  }
  if (event.target.closest("details.several")) changed = true;  // Until the list is closed: several may be chosen.
  else form().requestSubmit();
});

document.addEventListener("toggle", (event) => { if (changed && !event.target.open) form().requestSubmit(); }, true);

document.addEventListener("click", (event) => {
  for (const list of document.querySelectorAll("details.several[open]")) if (!list.contains(event.target)) list.open = false;
});

document.addEventListener("keydown", (event) => {
  const busy = event.target.closest && event.target.closest("input:not([type=radio]), select");
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const press = (selector) => { const link = document.querySelector(selector); if (link) link.click(); };
  if (event.key === "Escape" && document.querySelector("details.several[open]")) document.body.click();
  else if (busy) return;
  else if (event.key === "j" || event.key === "ArrowRight") press("#body a.next");
  else if (event.key === "k" || event.key === "ArrowLeft") press("#body a.previous");
  else if (event.key === "Escape") press("#body a.back");
  else if (event.key === "/") { const [search] = named("search"); if (search) { event.preventDefault(); search.focus(); } }
});

const follow = async () => {
  const now = await (await fetch("stamp")).text();
  if (now === stamp) return;
  const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
  stamp = now;
  for (const id of ["notices", "controls", "body"]) {
    const [old, fresh] = [document.getElementById(id), page.getElementById(id)];
    const used = old.contains(document.activeElement) || old.querySelector("details[open]");  // One may be typing there.
    if (!used && old.innerHTML !== fresh.innerHTML) old.replaceWith(document.adoptNode(fresh));
    else if (id === "controls" && document.getElementById("plots"))
      document.getElementById("plots").replaceWith(document.adoptNode(page.getElementById("plots")));
  }
};
setInterval(() => follow().catch(() => {}), 5000);  // A server that has ended says nothing more.
