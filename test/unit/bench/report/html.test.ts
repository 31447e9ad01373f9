import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { renderPage } from '../../../../bench/report/html.ts';
import { embedJson, embedScript, escapeText } from '../../../../bench/report/markup.ts';
import { benchResult } from '../../../helpers/bench-result.ts';

const ASSETS = { scripts: ['var uPlot;', 'draw()'], styles: ['body{}'] };
const HOSTILE = `</script></style></title><script>alert("1")</script><!-- ' & -->`;

describe('the page of a result', () => {
  test('holds every figure in tables', () => {
    const page = renderPage(benchResult(), ASSETS);
    for (const text of ['412 (400–431)', '30.7', '1.45 (1.38–1.52)', 'A Processor', '1.22.1', '40.8']) {
      expect(page).toContain(text);
    }
    expect(page).toContain('npm run bench -- connect --rate 500 --vs nginx');
    expect(page).toContain('The harness used 38 % of two cores.');
  });

  test('names problems, and only where there are any', () => {
    expect(renderPage(benchResult(), ASSETS)).not.toContain('class="problems"');
    const page = renderPage(benchResult({ problems: ['12 lines were lost'] }), ASSETS);
    expect(page.indexOf('12 lines were lost')).toBeLessThan(page.indexOf('Figures'));
  });

  test('leaves no section empty', () => {
    const nothing = { metrics: [], histograms: [], series: [], notes: [], options: {}, versions: {} };
    const page = renderPage(benchResult(nothing), ASSETS);
    expect([...page.matchAll(/<h2>(.*?)<\/h2>/g)].map(([, title]) => title)).toEqual([
      'Machine and programs',
    ]);
  });

  test('escapes whatever it embeds', () => {
    const { metrics, histograms, series, machine } = benchResult();
    const hostile = benchResult({
      scenario: HOSTILE,
      command: HOSTILE,
      startedAt: HOSTILE,
      machine: { ...machine, cpu: HOSTILE, kernel: HOSTILE },
      versions: { [HOSTILE]: HOSTILE },
      options: { [HOSTILE]: HOSTILE },
      metrics: metrics.map((metric) => ({ ...metric, name: HOSTILE, unit: HOSTILE, target: HOSTILE })),
      histograms: histograms.map((histogram) => ({ ...histogram, name: HOSTILE, target: HOSTILE })),
      series: series.map((line) => ({ ...line, name: HOSTILE, unit: HOSTILE, target: HOSTILE })),
      notes: [HOSTILE],
      problems: [HOSTILE],
    });
    const page = renderPage(hostile, ASSETS);
    expect(page).not.toContain('<script>alert');
    expect(page).not.toContain('alert("1")');
    expect(page.match(/<script/g)).toHaveLength(1 + ASSETS.scripts.length);
    expect(page.match(/<\/script/g)).toHaveLength(1 + ASSETS.scripts.length);
    expect(page.match(/<\/style/g)).toHaveLength(ASSETS.styles.length);
    expect(page).not.toContain('<!-- ');
  });
});

describe('embedding', () => {
  test('text keeps its meaning and loses its markup', () => {
    expect(escapeText(`<a href="x">'&'</a>`)).toBe('&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;');
  });

  test('JSON comes back as it was, without a <', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.string(), (value, key) => {
        const whole = { [key]: value, text: `</script>${key}<!--` };
        const embedded = embedJson(whole);
        expect(embedded).not.toContain('<');
        expect(JSON.parse(embedded)).toEqual(JSON.parse(JSON.stringify(whole)));
      }),
    );
  });

  test('a script keeps its meaning', () => {
    expect(embedScript(`x = '</SCRIPT>' + "<!--"`)).toBe(`x = '<\\/SCRIPT>' + "<\\!--"`);
  });
});
