"use strict";
// Without scripts the first picture of each strip stays, and the axis is linear.
for (const gallery of document.querySelectorAll(".gallery")) {
  const slider = gallery.querySelector("input[type=range]");
  const output = gallery.querySelector("output");
  const steps = gallery.dataset.steps.split(",");
  const ending = output.textContent.replace(/^\d+/, "");
  const show = () => {
    const step = steps[Number(slider.value)];
    let share = "";
    for (const frame of gallery.querySelectorAll(".frame")) {
      frame.hidden = frame.dataset.step !== step;
      if (!frame.hidden) share = frame.dataset.share;
    }
    output.textContent = `${step}${ending} (${share})`;
    slider.setAttribute("aria-valuetext", output.textContent);
  };
  slider.addEventListener("input", show);
  show();
}
for (const choice of document.querySelectorAll("input[name=axis]")) {
  choice.addEventListener("change", () => {
    document.body.classList.toggle("log-steps", choice.value === "log" && choice.checked);
  });
}
const reveal = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let box = target && target.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", reveal);
reveal();
