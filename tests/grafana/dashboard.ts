// SPDX-License-Identifier: GPL-2.0-only
// A dashboard as Grafana's published types have it, with the options of each kind of panel that
// we use, and without what they leave open.

import type * as schema from '@grafana/schema';
import type * as heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as text from '@grafana/schema/dist/esm/raw/composable/text/panelcfg/x/TextPanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
import type { PrometheusDataQuery } from 'grafana-schema-10/dist/esm/raw/composable/prometheus/dataquery/x/PrometheusDataQuery_types.gen';

/** T as JSON has it: members of enums are written as their values. */
type Json<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends (infer E)[]
      ? Json<E>[]
      : T extends object
        ? { [K in keyof T]: Json<T[K]> }
        : T;

/** Ids of Grafana's value formats; the schema takes any string. */
type Unit = 'bytes' | 'dateTimeAsIso' | 'hertz' | 'none' | 'ops' | 'percentunit' | 'ppm' | 's';

/** The only data source there is: the one that is chosen on the dashboard. */
type Source = { datasource: { type: 'prometheus'; uid: '${datasource}' } };

type Query = Json<PrometheusDataQuery> & Source;

type Open = 'type' | 'options' | 'fieldConfig' | 'targets' | 'datasource' | 'title' | 'description' | 'gridPos' | 'id';

type Known = { id: number; title: string; gridPos: { h: number; w: number; x: number; y: number } };

type Fields<Custom> = {
  defaults: Omit<Json<schema.FieldConfig>, 'custom' | 'unit' | 'noValue'> & {
    custom?: Json<Custom>;
    unit?: Unit;
    noValue: string;
  };
  overrides: Json<schema.FieldConfigSource>['overrides'];
};

type Drawn<Type extends string, Options, Custom> = Omit<Json<schema.Panel>, Open> &
  Known &
  Source & {
    type: Type;
    description: string;
    options: Json<Options>;
    fieldConfig: Fields<Custom>;
    targets: Query[];
  };

type Text = Omit<Json<schema.Panel>, Open> & Known & { type: 'text'; options: Json<text.Options> };

type Row = Omit<Json<schema.RowPanel>, 'panels'> & Known & { panels: [] };

type Panel =
  | Drawn<'heatmap', heatmap.Options, heatmap.FieldConfig>
  | Drawn<'stat', stat.Options, {}>
  | Drawn<'table', table.Options, table.FieldConfig>
  | Drawn<'timeseries', timeseries.Options, timeseries.FieldConfig>
  | Text
  | Row;

/** The last four are the Prometheus data source's. */
type Annotation = Omit<Json<schema.AnnotationQuery>, 'target' | 'datasource'> &
  Source & {
    target: Query;
    tagKeys: string;
    textFormat: string;
    titleFormat: string;
    useValueForTime?: true;
  };

type Variable = Omit<Json<schema.VariableModel>, 'query' | 'label'> & { query: string; label: string };

export type Dashboard = Omit<
  Json<schema.Dashboard>,
  'annotations' | 'panels' | 'templating' | 'title' | 'uid' | 'description' | 'tags'
> & {
  annotations: { list: Annotation[] };
  description: string;
  panels: Panel[];
  tags: ['lpttrace'];
  templating: { list: Variable[] };
  title: string;
  uid: string;
};
