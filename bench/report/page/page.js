/* global uPlot: its script stands before this one in the page. */

/** Draws the plots, and draws them again when the colour scheme changes. */
(() => {
  const plots = JSON.parse(document.getElementById('plots').textContent);
  const HEIGHT_PX = 300;
  const AXIS_PX = 66;
  const drawn = [];

  /** Percentiles that get a mark, at log10(1 / (1 - p)); each further nine is one further on. */
  const MARKS = [0, 50, 90, 99, 99.9, 99.99, 99.999, 99.9999].map((percentile) => ({
    at: Math.log10(1 / (1 - percentile / 100)),
    label: percentile === 0 ? '0' : `${percentile}%`,
  }));

  const percentileOf = (position) => (1 - 10 ** -position) * 100;

  const formatPercentile = (position) =>
    position == null ? '' : `${percentileOf(position).toFixed(Math.max(1, Math.ceil(position)))}%`;

  const formatNumber = (value) =>
    value == null ? '–' : value.toLocaleString('en-US', { maximumSignificantDigits: 4 });

  function axisX(plot, colors) {
    const look = { label: plot.xLabel, stroke: colors.text, grid: { stroke: colors.grid, width: 1 } };
    if (plot.kind === 'time') return { ...look, values: (_, splits) => splits.map(formatNumber) };
    const inside = (min, max) => MARKS.filter(({ at }) => at >= min - 1e-6 && at <= max + 1e-6);
    return {
      ...look,
      splits: (_, __, min, max) => inside(min, max).map(({ at }) => at),
      values: (_, splits) => splits.map((at) => MARKS.find((mark) => mark.at === at)?.label ?? ''),
    };
  }

  function options(plot, colors, width) {
    return {
      width,
      height: HEIGHT_PX,
      cursor: plot.kind === 'time' ? { sync: { key: 'time' } } : {},
      scales: {
        x: { time: false },
        y:
          plot.yScale === 'log'
            ? { distr: 3 }
            : { range: (_, min, max) => [Math.min(0, min), max > 0 ? max * 1.08 : 1] },
      },
      axes: [
        axisX(plot, colors),
        {
          label: plot.yLabel,
          size: AXIS_PX,
          stroke: colors.text,
          grid: { stroke: colors.grid, width: 1 },
          // On a logarithmic axis uPlot leaves out the labels that have no room: they come as null.
          values: (_, splits) => splits.map((value) => (value == null ? '' : formatNumber(value))),
        },
      ],
      series: [
        {
          label: plot.kind === 'time' ? 'time, s' : 'percentile',
          value: (_, value) => (plot.kind === 'time' ? formatNumber(value) : formatPercentile(value)),
        },
        ...plot.lines.map(({ label, color }) => ({
          label,
          stroke: colors.lines[color % colors.lines.length],
          dash: color < colors.lines.length ? undefined : [6, 4],
          width: 2,
          spanGaps: true,
          points: { show: plot.data[0].length < 3 },
          value: (_, value) => formatNumber(value),
        })),
      ],
    };
  }

  function colorsOfScheme() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const lines = Array.from({ length: 8 }, (_, index) => color(`--line-${index}`));
    return { text: color('--text'), grid: color('--grid'), lines };
  }

  function drawAll() {
    for (const { chart } of drawn.splice(0)) chart.destroy();
    const colors = colorsOfScheme();
    for (const element of document.querySelectorAll('[data-plot]')) {
      const plot = plots[Number(element.dataset.plot)];
      const chart = new uPlot(options(plot, colors, element.clientWidth), plot.data, element);
      drawn.push({ chart, element });
    }
  }

  function fitWidths() {
    for (const { chart, element } of drawn) {
      if (chart.width !== element.clientWidth) {
        chart.setSize({ width: element.clientWidth, height: HEIGHT_PX });
      }
    }
  }

  drawAll();
  addEventListener('resize', fitWidths);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
})();
