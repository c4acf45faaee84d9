"use strict";
for (const detail of document.querySelectorAll(".detail")) {
  const wipe = detail.querySelector(".wipe");
  const slider = wipe.querySelector("input");
  const sources = new Map([...detail.querySelectorAll(".thumbs img")].map((image) => [image.dataset.label, image.src]));
  const place = () => wipe.style.setProperty("--split", String(slider.value / 100));
  slider.addEventListener("input", place);
  place();
  for (const [side, layer] of [["left", "under"], ["right", "over"]]) {
    const select = detail.querySelector(`select.${side}`);
    const shown = wipe.querySelector(`.${layer}`);
    const show = () => { shown.src = sources.get(select.value); };
    select.addEventListener("change", show);
    show();
  }
}
