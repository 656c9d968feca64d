# One rule trains every model; `dhl.run.model_graph` describes the models.


rule train:
    input:
        unpack(files_of_model),
    output:
        weights=RUN.pattern("model"),
        curve=RUN.pattern("training"),
    log:
        f"{ROOT}/logs/train/{{model}}.log",
    benchmark:
        RUN.benchmark("training")
    # The longest chain of trainings first: else a training can be alone at the end.
    priority: lambda w: 10 + WAITING_MODELS.get(w.model, 0)
    retries: RETRIES
    conda:
        "../../environment.yml"
    threads: CONFIG.threads + CONFIG.workers
    resources:
        last_try=last_try,
        gpu=ON_GPU,
    params:
        config=configfile,
        # Recipe, network, code and parents: if one changes, the training is repeated.
        fingerprint=lambda w: settings_fingerprint(CONFIG, w.model),
    shell:
        "dhl train {wildcards.model} --configfile {params.config} > {log} 2>&1"
        " || dhl record-failure --status $? --last {resources.last_try} --log {log} {output}"
