const random = (from: number, to: number): number => Math.round(from + Math.random() * (to - from));

/** Paints a landscape that nobody has seen before, as SVG. */
export function postcard(): string {
  const hue = random(0, 359);
  const hills = [70, 50, 30].map((lightness, index) => {
    const foot = 90 + 30 * index;
    const ridge = `M0 ${random(foot - 20, foot + 20)} Q80 ${random(foot - 60, foot)} 160 ${foot} T320 ${random(foot - 20, foot + 20)}`;
    return `<path d="${ridge}V180H0z" fill="hsl(${hue} 35% ${lightness}%)"/>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 180" width="320" height="180">
<rect width="320" height="180" fill="hsl(${hue + 30} 70% 88%)"/>
<circle cx="${random(50, 270)}" cy="${random(35, 70)}" r="${random(14, 24)}" fill="hsl(${random(15, 50)} 95% 68%)"/>
${hills.join("\n")}
</svg>`;
}
