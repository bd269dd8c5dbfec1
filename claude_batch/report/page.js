"use strict";
(() => {
  const tip = document.getElementById("tip");
  const show = (event) => {
    const hit = event.target.closest ? event.target.closest("[data-t]") : null;
    tip.hidden = !hit;
    if (!hit) return;
    tip.textContent = hit.getAttribute("data-t");
    const box = tip.getBoundingClientRect();
    const right = event.clientX + 16 + box.width > innerWidth;
    const x = right ? event.clientX - 16 - box.width : event.clientX + 16;
    const y = Math.min(event.clientY + 14, innerHeight - box.height - 8);
    tip.style.left = Math.max(8, x) + "px";
    tip.style.top = Math.max(8, y) + "px";
  };
  addEventListener("pointermove", show, { passive: true });
  addEventListener("pointerdown", show, { passive: true });
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  const search = document.getElementById("search");
  if (!search) return;
  const rows = [...document.querySelectorAll(".row")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const filters = [...document.querySelectorAll(".filter")];
  const found = document.getElementById("found");
  const more = document.createElement("button");
  let most = 30;
  more.id = "more";
  more.type = "button";
  document.getElementById("rows").after(more);
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const sorts = filters.filter((each) => each.getAttribute("aria-pressed") === "true").map((each) => each.dataset.sort);
    let shown = 0;
    rows.forEach((row, number) => {
      const fits = words.every((word) => texts[number].includes(word)) && (!sorts.length || sorts.includes(row.dataset.sort));
      shown += fits ? 1 : 0;
      row.hidden = !fits || shown > most;
    });
    more.hidden = shown <= most;
    more.textContent = "Show " + (shown - most).toLocaleString("en") + " more";
    found.textContent = shown === rows.length ? "" : shown.toLocaleString("en") + " of " + rows.length.toLocaleString("en") + " found";
  };
  search.addEventListener("input", apply);
  filters.forEach((each) => each.addEventListener("click", () => {
    each.setAttribute("aria-pressed", String(each.getAttribute("aria-pressed") !== "true"));
    apply();
  }));
  more.addEventListener("click", () => { most = Infinity; apply(); });
  addEventListener("beforeprint", () => { most = 30; apply(); });
  apply();
  document.getElementById("rows").addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (row && !String(getSelection())) row.classList.toggle("open");
  });
})();
